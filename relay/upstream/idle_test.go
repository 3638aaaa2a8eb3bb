package upstream

import (
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// TestIdleCuts: Amazon SES has no PIPELINING and ends a session after 10 s of silence. 1,000 messages, one
// every 11 s, are relayed at the first attempt: with the idle time of the preset, and with a longer one, as
// the cut on a reused connection costs no attempt, whether it is seen while idle or is the answer to MAIL,
// and whatever its words are.
func TestIdleCuts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		reply    string
		maxIdle  time.Duration // 0: that of the preset
		crossing bool          // the cut is the answer to MAIL
		messages int
	}{
		{name: "idle time of the preset", messages: 1000},
		{name: "451 while idle", maxIdle: time.Minute, messages: 1000},
		{name: "451 to MAIL", maxIdle: time.Minute, crossing: true, messages: 1000},
		{name: "421 to MAIL", reply: "421 4.4.1 Late", maxIdle: time.Minute, crossing: true, messages: 50},
		{name: "421 alone to MAIL", reply: "421 Bye", maxIdle: time.Minute, crossing: true, messages: 50},
		{name: "EOF while idle", reply: "-", maxIdle: time.Minute, messages: 50},
		{name: "EOF to MAIL", reply: "-", maxIdle: time.Minute, crossing: true, messages: 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, ln := sesInMemory(t, tt.reply, tt.crossing)
				pool := newPool(t, "127.0.0.1:587", func(o *Options) {
					v.options(o, "p")
					o.Dial = ln.Dial
					if tt.maxIdle > 0 {
						o.MaxIdle = tt.maxIdle
					}
				})
				for n := range tt.messages {
					first := attempts(t, send(t, pool, from("a@a.test", "b@b.test"))[0])[0]
					if !first.Accepted() {
						t.Fatalf("message %d: %s, %q, %+v", n, first.Stage, first.Reply.Raw, first.NetErr)
					}
					time.Sleep(11 * time.Second)
				}
				// every session was cut, or ended by the client, before the next message
				if s := v.s.Stats(); int(s.Messages) != tt.messages || int(s.Sessions) != tt.messages {
					t.Errorf("%d messages in %d sessions", s.Messages, s.Sessions)
				}
			})
		})
	}
}

// sesInMemory starts the imitation of Amazon SES on pipes. reply takes the place of the words of the cut;
// "-" is none.
func sesInMemory(t *testing.T, reply string, crossing bool) (*provider, *smtptest.Pipes) {
	t.Helper()
	v := named(t, "ses")
	switch reply {
	case "":
	case "-":
		v.i.Idle.Reply = ""
	default:
		v.i.Idle.Reply = reply
	}
	ln := smtptest.NewPipes()
	o, err := v.i.Options(smtptest.Options{Listener: ln},
		imitation.Settings{Users: map[string]string{"u@a.test": "p"}, Crossing: crossing})
	if err != nil {
		t.Fatal(err)
	}
	v.s = smtptest.New(t, o)
	return v, ln
}
