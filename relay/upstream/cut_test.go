package upstream

import (
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// TestCut cuts the dialogue after each byte, in both directions, by FIN and by RST, and then tries what was not
// accepted again on a sound way. Nothing may be lost, nothing may arrive in part, and nothing may arrive twice but what an
// attempt called uncertain.
func TestCut(t *testing.T) {
	step := int64(1)
	if testing.Short() {
		step = 7
	}
	for _, without := range []string{"", "PIPELINING"} {
		for _, end := range []smtptest.End{smtptest.EndClose, smtptest.EndReset} {
			for _, toServer := range []bool{true, false} {
				name := string(end) + " to client without " + without
				if toServer {
					name = string(end) + " to server without " + without
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					s := smtptest.New(t, smtptest.Options{Without: []string{without}})
					proxy := smtptest.NewProxy(t, s.Addr())
					for after := int64(0); ; after += step {
						sessions := s.Stats().Sessions
						cutAt(t, s, proxy, after, end, toServer)
						if s.Stats().Sessions-sessions == 1 {
							t.Logf("the whole dialogue has %d bytes", after)
							break
						}
					}
				})
			}
		}
	}
}

// cutAt runs one exchange whose connections are cut after the given byte.
func cutAt(t *testing.T, s *smtptest.Server, proxy *smtptest.Proxy, after int64, end smtptest.End, toServer bool) {
	cut := smtptest.Faults{Cut: &smtptest.Cut{After: after, End: end}}
	if toServer {
		proxy.Damage(cut, smtptest.Faults{})
	} else {
		proxy.Damage(smtptest.Faults{}, cut)
	}
	before := len(s.Messages())
	p := newPool(t, proxy.Addr(), nil)
	contents := []string{"Subject: 1\r\n\r\none\r\n.\r\n", "Subject: 2\r\n\r\ntwo\r\n", "Subject: 3\r\n\r\n"}
	var ts []*relay.Transaction
	for _, c := range contents {
		m := message(c, "a@b.test")
		m.Message.Subject = c
		ts = append(ts, m)
	}
	uncertain := map[string]int{}
	for round := 0; len(ts) > 0; round++ {
		if round == 4 { // a connection that is cut later may have been kept once
			t.Fatalf("cut at %d: not accepted on a sound way", after)
		}
		var again []*relay.Transaction
		for _, o := range send(t, p, ts...) {
			if o.r.Err != nil {
				t.Fatalf("cut at %d: %v", after, o.r.Err)
			}
			if o.r.Fault == nil && o.r.Attempts[0].Accepted() {
				continue
			}
			again = append(again, o.t)
			if o.r.Fault == nil && o.r.Attempts[0].Uncertain {
				uncertain[o.t.Message.Subject]++
			}
		}
		ts = again
		proxy.Damage(smtptest.Faults{}, smtptest.Faults{})
	}
	p.Close()
	arrived := map[string]int{}
	for _, m := range s.Messages()[before:] {
		arrived[string(m.Content)]++
	}
	for _, c := range contents {
		if n := arrived[c]; n == 0 || n > 1+uncertain[c] {
			t.Errorf("cut at %d: %q arrived %d times, uncertain %d", after, c, n, uncertain[c])
		}
		delete(arrived, c)
	}
	if len(arrived) > 0 {
		t.Errorf("cut at %d: arrived in part: %v", after, arrived)
	}
}
