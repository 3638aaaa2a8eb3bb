package app

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/smtptest"
)

// TestOddSessionFailsNobody: an upstream that for a while refuses EHLO and takes HELO, or offers less than
// before, makes mail wait that needs more. It is neither bounced nor refused at the front door, and goes when
// all is offered again.
func TestOddSessionFailsNobody(t *testing.T) {
	offers := "250-x\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-DSN\r\n"
	for name, ehlo := range map[string]string{
		"EHLO refused, HELO taken":     "554 5.3.0 Transaction failed\r\n",
		"EHLO unknown, HELO taken":     "502 5.5.1 Command not implemented\r\n",
		"without 8BITMIME":             offers + "250 SIZE\r\n",
		"with an impossible SIZE":      offers + "250-8BITMIME\r\n250 SIZE 10\r\n",
		"with a limit smaller than it": offers + "250-8BITMIME\r\n250 SIZE 100000\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var odd atomic.Bool
			var sessions atomic.Int64 // odd ones
			r := newDSNRelay(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
				if !strings.HasPrefix(c.Line, "EHLO") || !odd.Load() {
					return smtptest.Action{}
				}
				sessions.Add(1)
				return smtptest.Action{Bytes: []byte(ehlo)}
			}}, config.Flag{Name: "k", Key: "upstream.default.idle_timeout", Value: "0s"},
				config.Flag{Name: "k", Key: "retry.expire_after", Value: "1m"})
			content := "Subject: x\r\n\r\n" + strings.Repeat("\xc3\xbcber alles\r\n", 20_000)
			sendContent(t, r.addr, content)
			r.arrivals(1)
			smtptest.WaitFor(t, "the end of the first session",
				func() bool { return r.upstream.Stats().Open == 0 })
			odd.Store(true)
			sendContent(t, r.addr, content)
			smtptest.WaitFor(t, "the odd session", func() bool { return sessions.Load() >= 2 })
			sendContent(t, r.addr, content)
			odd.Store(false)
			r.arrivals(3)
			r.nothingMore(3)
			for _, m := range r.upstream.Messages() {
				if m.From != "app@client.test" {
					t.Errorf("a report from %q:\n%.600s", m.From, m.Content)
				}
			}
			if log, err := os.ReadFile(r.log); err != nil ||
				strings.Contains(string(log), `"event":"failed"`) {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
}
