package upstream

import (
	"fmt"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// TestCut cuts the dialogue after each byte, in both directions, by FIN and by RST, and then tries what was
// not accepted again on a sound way. Nothing may be lost, nothing may arrive in part, and nothing may
// arrive twice but what an attempt called uncertain.
func TestCut(t *testing.T) {
	for _, without := range []string{"", "PIPELINING"} {
		for _, end := range []smtptest.End{smtptest.EndClose, smtptest.EndReset} {
			for _, toServer := range []bool{true, false} {
				name := string(end) + " to client without " + without
				if toServer {
					name = string(end) + " to server without " + without
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					cutEverywhere(t, smtptest.Options{Without: []string{without}}, end, toServer)
				})
			}
		}
	}
}

// cutCase is a server behind a way that can be cut, and what it should have by the end.
type cutCase struct {
	server   *smtptest.Server
	proxy    *smtptest.Proxy
	end      smtptest.End
	toServer bool
	// allowed is how often each content may arrive: once, and once more for each uncertain attempt.
	allowed map[string]int
}

func cutEverywhere(t *testing.T, o smtptest.Options, end smtptest.End, toServer bool) {
	s := smtptest.New(t, o)
	c := &cutCase{s, smtptest.NewProxy(t, s.Addr()), end, toServer, map[string]int{}}
	step := int64(1)
	if testing.Short() {
		step = 7
	}
	for after := int64(0); ; after += step {
		sessions := s.Stats().Sessions
		c.cutAt(t, after)
		if s.Stats().Sessions-sessions == 1 && after > 0 {
			t.Logf("the whole dialogue has at most %d bytes", after)
			break
		}
	}
	s.Close() // ends what is still going on
	arrived := map[string]int{}
	for _, m := range s.Messages() {
		arrived[string(m.Content)]++
	}
	for content, most := range c.allowed {
		if n := arrived[content]; n < 1 || n > most {
			t.Errorf("%q arrived %d times, allowed %d", content, n, most)
		}
		delete(arrived, content)
	}
	if len(arrived) > 0 {
		t.Errorf("arrived in part: %v", arrived)
	}
}

// cutAt runs one exchange whose connections are cut after the given byte.
func (c *cutCase) cutAt(t *testing.T, after int64) {
	cut := smtptest.Faults{Cut: &smtptest.Cut{After: after, End: c.end}}
	if c.toServer {
		c.proxy.Damage(cut, smtptest.Faults{})
	} else {
		c.proxy.Damage(smtptest.Faults{}, cut)
	}
	p := newPool(t, c.proxy.Addr(), nil)
	var ts []*relay.Transaction
	for i, body := range []string{"one\r\n.\r\n", "two\r\n", ""} {
		content := fmt.Sprintf("Subject: %03d.%d\r\n\r\n%s", after, i, body)
		c.allowed[content] = 1
		m := message(content, "a@b.test")
		m.Message.Subject = content
		ts = append(ts, m)
	}
	for round := 0; len(ts) > 0; round++ {
		if round == 4 { // a connection that is cut later may have been kept once
			t.Fatalf("cut at %d: not accepted on a sound way", after)
		}
		ts = c.again(t, send(t, p, ts...))
		c.proxy.Damage(smtptest.Faults{}, smtptest.Faults{})
	}
	p.Close()
}

// again are the transactions that were not accepted.
func (c *cutCase) again(t *testing.T, out []outcome) (ts []*relay.Transaction) {
	for _, o := range out {
		switch {
		case o.r.Err != nil:
			t.Fatal(o.r.Err)
		case o.r.Fault == nil && o.r.Attempts[0].Accepted():
			continue
		case o.r.Fault == nil && o.r.Attempts[0].Uncertain:
			c.allowed[o.t.Message.Subject]++
		}
		ts = append(ts, o.t)
	}
	return ts
}
