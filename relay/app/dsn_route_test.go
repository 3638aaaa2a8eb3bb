package app

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// Where bounces go, and who gets none, from one side of the relay to the other.

func dsnFlag(key, value string) config.Flag {
	return config.Flag{Name: key, Key: "dsn." + key, Value: value}
}

// TestDSNChosen: each recipient is told what its NOTIFY asks for, and no more (RFC 3461, 5.2.5 and 5.2.6).
func TestDSNChosen(t *testing.T) {
	for _, tt := range []struct {
		name, from, notify, to string
		actions                []string
	}{
		{"only failures, of a delay and a failure", "app@example.com", "NOTIFY=FAILURE", "later@example.net",
			[]string{"failed"}},
		{"only delays, of a delay and a failure", "app@example.com", "NOTIFY=DELAY", "later@example.net",
			[]string{"delayed"}},
		{"only success, of a failure", "app@example.com", "NOTIFY=SUCCESS", "unknown@example.net", nil},
		{"nothing said, of success", "app@example.com", "", "good@example.net", nil},
		{"nobody to tell", "", "NOTIFY=SUCCESS,FAILURE,DELAY", "unknown@example.net", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newDSNRelay(t, smtptest.Options{Without: []string{"DSN"}})
			r.pythonFrom(tt.from, "", tt.notify, tt.to)
			smtptest.WaitFor(t, "the last attempt", func() bool {
				return r.bounced() >= len(tt.actions) && r.waiting() == 0
			})
			r.nothingMore(len(r.upstream.Messages()))
			var actions []string
			for _, m := range r.upstream.Messages() {
				if m.To[0].Address == "app@example.com" {
					actions = append(actions, r.read(m).blocks[1].Get("Action"))
				}
			}
			if !slices.Equal(actions, tt.actions) {
				t.Errorf("told: %q, want %q", actions, tt.actions)
			}
		})
	}
}

// TestDSNRoutes: dsn.route in each of its forms.
func TestDSNRoutes(t *testing.T) {
	for _, tt := range []struct {
		route string
		to    []string
		files int
	}{
		{"sender", []string{"app@example.com"}, 0},
		{"operator", []string{"ops@example.com"}, 0},
		{"both", []string{"app@example.com", "ops@example.com"}, 0},
		{"maildir", nil, 1},
		{"off", nil, 0},
	} {
		t.Run(tt.route, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "bounces")
			r := newDSNRelay(t, smtptest.Options{}, dsnFlag("route", tt.route),
				dsnFlag("operator", "ops@example.com"), dsnFlag("maildir", dir))
			r.python("", "", "unknown@example.net")
			smtptest.WaitFor(t, "the bounce", func() bool {
				files, _ := os.ReadDir(filepath.Join(dir, "new"))
				return len(files) == tt.files && r.bounced() >= len(tt.to) && r.waiting() == 0
			})
			r.nothingMore(len(r.upstream.Messages()))
			var to []string
			for _, m := range r.upstream.Messages() {
				for _, rcpt := range m.To {
					to = append(to, rcpt.Address)
				}
				header := r.read(m).header
				if got := header.Get("To"); got != "<"+tt.to[0]+">" { // RFC 3464, 2
					t.Errorf("To: %s", got)
				}
			}
			slices.Sort(to)
			if !slices.Equal(to, tt.to) {
				t.Errorf("sent to %q, want %q", to, tt.to)
			}
			files, _ := os.ReadDir(filepath.Join(dir, "new"))
			if len(files) != tt.files {
				t.Errorf("%d files in the maildir, want %d", len(files), tt.files)
			}
			if n := r.waiting(); n != 0 {
				t.Errorf("%d messages are left in the queue", n)
			}
		})
	}
}

// TestDSNHeld: a bounce that the upstream refuses is held with its diagnosis, logged, and not bounced in
// its turn.
func TestDSNHeld(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if strings.HasPrefix(c.Line, "MAIL FROM:<>") {
			return smtptest.Action{Reply: "501 5.1.7 Invalid MAIL FROM address provided"}
		}
		return smtptest.Action{}
	}})
	r.python("", "", "unknown@example.net")
	var held *relay.Message
	smtptest.WaitFor(t, "the bounce to be held", func() bool {
		r.list(func(m *relay.Message) {
			if m.Report && m.Recipients[0].State == relay.Held {
				held = m
			}
		})
		return held != nil
	})
	rc := &held.Recipients[0]
	if rc.Address != "app@example.com" || rc.Diagnosis == nil || rc.HeldWhy == "" ||
		rc.Last.Reply.Code != 501 {
		t.Errorf("held: %+v", rc)
	}
	smtptest.WaitFor(t, "the delivery log to say so", func() bool { // it is written after the settlement
		log, _ := os.ReadFile(r.log)
		return strings.Contains(string(log), `"event":"held"`)
	})
	r.nothingMore(0)
	if n := r.waiting(); n != 1 {
		t.Errorf("%d messages in the queue, only the held bounce should be", n)
	}
}

// TestDSNForged: a Message-ID that looks like one of our bounces and is not signed costs nobody a bounce.
func TestDSNForged(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.python("", "", "unknown@example.net")
	_, bounces := r.arrivals(1)
	header := r.read(bounces[0]).header
	id := header.Get("Message-ID")
	for i, forged := range []string{strings.Replace(id, ".", ".0", 1),
		"<" + relay.NewID(time.Now()) + id[strings.IndexByte(id, '.'):]} {
		r.pythonMail("app@example.com", "", "", "Message-ID: "+forged+"\r\n\r\nbody\r\n",
			"unknown@example.net")
		r.arrivals(2 + i)
	}
}

// TestDSNUTF8: a message with SMTPUTF8 is reported on in UTF-8 (RFC 6533).
func TestDSNUTF8(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.pythonMail("app@example.com", "SMTPUTF8 BODY=8BITMIME", `ORCPT=utf-8;unknown@\x{4F8B}.example`,
		"Subject: Grüße\r\nMessage-ID: <7@app.example.com>\r\n\r\nbody\r\n", "unknown@例.example")
	_, bounces := r.arrivals(1)
	content := string(bounces[0].Content)
	for _, want := range []string{
		"Content-Type: message/global-delivery-status\r\n",
		"Original-Recipient: utf-8; unknown@例.example\r\n",
		"Final-Recipient: utf-8; unknown@例.example\r\n", "Content-Type: message/global\r\n",
	} {
		if !strings.Contains(content, want) {
			t.Errorf("no %q in\n%s", want, content)
		}
	}
}

// list shows each message in the queue.
func (r *dsnRelay) list(each func(*relay.Message)) {
	r.t.Helper()
	err := r.app.spool.List(context.Background(), relay.QueueFilter{},
		func(m *relay.Message) bool { each(m); return true })
	if err != nil {
		r.t.Fatal(err)
	}
}

// bounced is the number of recipients of bounces at the upstream.
func (r *dsnRelay) bounced() (n int) {
	for _, m := range r.upstream.Messages() {
		if m.From == "" {
			n += len(m.To)
		}
	}
	return n
}

// waiting is the number of messages in the queue.
func (r *dsnRelay) waiting() (n int) {
	r.t.Helper()
	r.list(func(*relay.Message) { n++ })
	return n
}
