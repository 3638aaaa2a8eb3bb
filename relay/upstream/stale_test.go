package upstream

import (
	"fmt"
	"slices"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// TestSessionOverOnFreshConnection: what a reused connection may say at no cost is an ordinary reply on a
// fresh one, kept as it came, and no third connection is tried.
func TestSessionOverOnFreshConnection(t *testing.T) {
	for _, without := range []string{"", "PIPELINING"} {
		for _, raw := range []string{"451 4.4.2 Timeout waiting for data from client.\r\n",
			"450 4.3.2 Come again\r\n", "550 5.7.1 No\r\n"} {
			for _, end := range []smtptest.End{smtptest.EndNot, smtptest.EndClose} {
				s := smtptest.New(t,
					smtptest.Options{Without: []string{without},
						Script: func(c smtptest.Command) smtptest.Action {
							if c.Stage == diagnose.StageMail && (c.Session > 1 || c.Message > 1) {
								return smtptest.Action{Bytes: []byte(raw), End: end}
							}
							return smtptest.Action{}
						}})
				name := fmt.Sprintf("without %q, %q, %s", without, raw, end)
				p := newPool(t, s.Addr(), nil)
				send(t, p, message(content, "a@b.test"))
				a := attempts(t, send(t, p, message(content, "b@b.test"))[0])[0]
				if a.Stage != diagnose.StageMail || a.Reply.Raw != raw || a.NetErr.Kind != diagnose.NetNone ||
					a.Uncertain {
					t.Errorf("%s: %+v", name, a)
				}
				over := end == smtptest.EndClose || raw[:9] == "451 4.4.2"
				if n := s.Stats().Sessions; over && n != 2 || !over && n != 1 {
					t.Errorf("%s: %d sessions", name, n)
				}
			}
		}
	}
}

// TestRefusedMailKeepsConnection: a refusal that is about the message costs no connection, and one RSET.
func TestRefusedMailKeepsConnection(t *testing.T) {
	mails := 0
	s := smtptest.New(t, smtptest.Options{Without: []string{"PIPELINING"},
		Script: func(c smtptest.Command) smtptest.Action {
			if c.Stage != diagnose.StageMail {
				return smtptest.Action{}
			}
			if mails++; mails == 2 {
				return smtptest.Action{Reply: "450 4.7.1 <timeout@idle.test> in the middle of greylisting"}
			}
			return smtptest.Action{}
		}})
	out := send(t, newPool(t, s.Addr(), nil), message("x\r\n", "1@b.test"), message("x\r\n", "2@b.test"),
		message("x\r\n", "3@b.test"))
	if a := attempts(t, out[1])[0]; a.Reply.Code != 450 || !attempts(t, out[2])[0].Accepted() {
		t.Errorf("%+v", out)
	}
	mail := "MAIL FROM:<from@a.test> SIZE=3"
	want := []string{mail, "RCPT TO:<1@b.test>", "DATA", mail, "RSET", mail, "RCPT TO:<3@b.test>", "DATA"}
	if got := said(s); len(got) != 1 || !slices.Equal(got[0], want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
