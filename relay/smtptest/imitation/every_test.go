package imitation_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// words are the last line of a text, up to what is filled in; {host} is filled in here.
func words(i *imitation.Imitation, text string) string {
	text = strings.ReplaceAll(text, "{host}", i.Host)
	text = text[strings.LastIndexByte(text, '\n')+1:]
	text, _, _ = strings.Cut(text, "{")
	return strings.TrimRight(text, " ")
}

// lastOfEhlo is the last line of the reply to EHLO in TLS, where STARTTLS is no longer offered.
func lastOfEhlo(i *imitation.Imitation) string {
	lines := slices.DeleteFunc(slices.Clone(i.Ehlo), func(l string) bool { return l == "STARTTLS" })
	return "250 " + words(i, lines[len(lines)-1])
}

// enter opens a session by a mechanism that the provider has.
func enter(t *testing.T, i *imitation.Imitation, s *smtptest.Server) talk {
	t.Helper()
	k := connect(t, s, words(i, i.Greeting))
	k.says("EHLO host.a.test", lastOfEhlo(i))
	if slices.Contains(i.Mechanisms(), "LOGIN") {
		k.says("AUTH LOGIN", "334 ")
		k.says(b64("u"), "334 ")
		k.says(b64("p"), words(i, i.AuthOK))
	} else {
		k.says("AUTH PLAIN "+b64("\x00u\x00p"), words(i, i.AuthOK))
	}
	return k
}

// sends offers a message of a sender, up to the stage at which the provider refuses such a one, or to the
// end.
func (k talk) sends(from string, r imitation.Refusal, i *imitation.Imitation) {
	k.t.Helper()
	want := func(stage, otherwise string) string {
		if r.At == stage {
			return words(i, r.Reply)
		}
		return otherwise
	}
	k.says("MAIL FROM:<"+from+">", want("mail", "250 "))
	if r.At == "mail" {
		return
	}
	k.says("RCPT TO:<b@b.test>", want("rcpt", "250 "))
	if r.At == "rcpt" {
		k.says("RSET", "250 ")
		return
	}
	k.says("DATA", "354 ")
	k.says("Subject: x\r\nMessage-ID: <own@a.test>\r\n\r\nx\r\n.", want("end_of_data", words(i, i.Accepted)))
}

// TestEveryImitation: each greets, shows its EHLO, takes a login, refuses a wrong one, takes a message in its
// words, and refuses the null sender, an unverified sender, and a recipient and a message too many in its
// own.
func TestEveryImitation(t *testing.T) {
	all, err := imitation.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		t.Run(i.Name, func(t *testing.T) {
			t.Parallel()
			users := map[string]string{"u": "p"}
			s := run(t, i, smtptest.Options{}, imitation.Settings{Users: users})
			wrong := connect(t, s, words(i, i.Greeting))
			wrong.says("EHLO host.a.test", lastOfEhlo(i))
			if slices.Contains(i.Mechanisms(), "PLAIN") {
				wrong.says("AUTH PLAIN "+b64("\x00u\x00q"), words(i, i.AuthFailed))
			} else {
				wrong.says("AUTH LOGIN", "334 ")
				wrong.says(b64("u"), "334 ")
				wrong.says(b64("q"), words(i, i.AuthFailed))
			}
			wrong.c.Close()
			k := enter(t, i, s)
			k.sends("a@a.test", imitation.Refusal{}, i)
			k.sends("", i.NullSender, i)
			k.sends("unverified@a.test", i.Unverified, i)
			if n := i.Recipients.Limit; n > 0 && n <= 1000 {
				k.says("MAIL FROM:<a@a.test>", "250 ")
				for range n {
					k.says("RCPT TO:<b@b.test>", "250 ")
				}
				k.says("RCPT TO:<b@b.test>", words(i, i.Recipients.Reply))
			}
			if n := i.Messages.Limit; n > 0 && n <= 1000 {
				k = enter(t, i, s)
				for range n {
					k.sends("a@a.test", imitation.Refusal{}, i)
				}
				k.says("MAIL FROM:<a@a.test>", words(i, i.Messages.Reply))
				k.over()
			}
		})
	}
}

// TestEveryIdleCut: each cuts an idle session in its own words, here after a second.
func TestEveryIdleCut(t *testing.T) {
	all, err := imitation.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		t.Run(i.Name, func(t *testing.T) {
			t.Parallel()
			speed := float64(i.Idle.After) / float64(time.Second)
			k := enter(t, i, run(t, i, smtptest.Options{}, imitation.Settings{Speed: speed}))
			k.hears(words(i, i.Idle.Reply))
			k.over()
		})
	}
}
