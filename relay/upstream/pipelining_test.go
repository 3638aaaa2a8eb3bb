package upstream

import (
	"context"
	"io"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// TestNoPipelining shows that a server's PIPELINING is not used where the settings say so: some firewalls
// offer it on behalf of servers that cannot.
func TestNoPipelining(t *testing.T) {
	up := smtptest.New(t, smtptest.Options{})
	p := newPool(t, up.Addr(), func(o *Options) { o.NoPipelining = true })
	m := &relay.Message{ID: "M", Envelope: relay.Envelope{From: "a@example.com"},
		Recipients: []relay.Recipient{{Address: "b@example.net"}}}
	tx := &relay.Transaction{Message: m, From: "a@example.com", Recipients: []int{0},
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("Subject: x\r\n\r\ny\r\n")), nil
		}}
	p.Relay(context.Background(), tx, func() *relay.Transaction { return nil },
		func(_ *relay.Transaction, res relay.Result) {
			if len(res.Attempts) != 1 || !res.Attempts[0].Accepted() {
				t.Errorf("result %+v, want accepted", res)
			}
		})
	if c, ok := p.Capabilities(); !ok || c.Pipelining {
		t.Errorf("capabilities %+v, want them known and without PIPELINING", c)
	}
}
