package upstream

import (
	"slices"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/upstream/stamp"
)

// stampAll is a Stamp that tells the recipients apart.
func stampAll(t *relay.Transaction, to []int) stamp.Stamp {
	s := stamp.Stamp{EnvID: "ID", Field: stamp.Field{Name: "X-Tag", Value: "1"}}
	if t.From != "" {
		local, _, _ := strings.Cut(t.Message.Recipients[to[0]].Address, "@")
		s.From = "b+" + local + "@bounces.test"
	}
	return s
}

// TestStamps: what is added stands in the transaction and in front of the content, and nowhere else: dots
// stay dots, SIZE counts the field, and the next message gets its own.
func TestStamps(t *testing.T) {
	for _, without := range []string{"", "PIPELINING", "DSN", "SIZE"} {
		t.Run("without "+without, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{Without: []string{without}})
			p := newPool(t, s.Addr(), func(o *Options) { o.RcptMax, o.Stamp = 1, stampAll })
			own := message("Subject: x\r\nx-tag: 2\r\n\r\nbody\r\n", "3@b.test")
			null := message(content, "4@b.test")
			null.From = ""
			for _, o := range send(t, p, message(content, "1@b.test", "2@b.test"), own, null) {
				for _, a := range attempts(t, o) {
					if !a.Accepted() {
						t.Errorf("%+v", a)
					}
				}
			}
			got := s.Messages()
			slices.SortFunc(got, func(a, b smtptest.Message) int {
				return strings.Compare(a.To[0].Address, b.To[0].Address)
			})
			tagged := "X-Tag: 1\r\n" + content
			for i, want := range []struct{ from, content, size string }{
				{"b+1@bounces.test", tagged, "SIZE=40"}, {"b+2@bounces.test", tagged, "SIZE=40"},
				{"b+3@bounces.test", "Subject: x\r\nx-tag: 2\r\n\r\nbody\r\n", "SIZE=40"},
				{"", tagged, "SIZE=40"},
			} {
				m := got[i]
				if m.From != want.from || string(m.Content) != want.content {
					t.Errorf("%d: from %s\n%q", i+1, m.From, m.Content)
				}
				if without != "SIZE" && !strings.Contains(m.FromParams, want.size) ||
					strings.Contains(m.FromParams, "ENVID=ID") != (without != "DSN") {
					t.Errorf("%d: %s, want %s", i+1, m.FromParams, want.size)
				}
			}
		})
	}
}

// TestStampFits: a message that is as large as the server takes goes without the field.
func TestStampFits(t *testing.T) {
	large := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<10)
	s := smtptest.New(t, smtptest.Options{SizeLimit: int64(len(large))})
	p := newPool(t, s.Addr(), func(o *Options) { o.Stamp = stampAll })
	if out := send(t, p, message(large, "1@b.test")); !attempts(t, out[0])[0].Accepted() {
		t.Fatalf("%+v", out[0].r)
	}
	if m := s.Messages()[0]; string(m.Content) != large || m.From != "b+1@bounces.test" {
		t.Errorf("from %s, %d bytes", m.From, len(m.Content))
	}
}

// TestStampKeepsEnvelopeID: the application's own goes on.
func TestStampKeepsEnvelopeID(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), func(o *Options) { o.Stamp = stampAll })
	m := message(content, "1@b.test")
	m.Message.Envelope.EnvID = "order=7"
	send(t, p, m)
	if got := s.Messages()[0].FromParams; !strings.Contains(got, "ENVID=order+3D7") {
		t.Errorf("MAIL had %s", got)
	}
}

// TestStampAfterLostConnection: a message that is tried again on a new connection has its field once.
func TestStampAfterLostConnection(t *testing.T) {
	cut := 0
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if strings.HasPrefix(c.Line, "MAIL") {
			if cut++; cut == 2 {
				return smtptest.Action{End: smtptest.EndClose}
			}
		}
		return smtptest.Action{}
	}})
	p := newPool(t, s.Addr(), func(o *Options) { o.Stamp = stampAll })
	send(t, p, message(content, "1@b.test"))
	send(t, p, message(content, "2@b.test"))
	got := s.Messages()
	if len(got) != 2 || string(got[1].Content) != "X-Tag: 1\r\n"+content || len(s.Sessions()) != 2 {
		t.Errorf("%d messages in %d sessions", len(got), len(s.Sessions()))
	}
}
