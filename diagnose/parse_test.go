package diagnose

import "testing"

// TestRefusedGreetingIsARefusal holds that a greeting whose last line is a refusal is one, and that nothing
// else that begins with a 2xx turns into one by its words.
func TestRefusedGreetingIsARefusal(t *testing.T) {
	e := newEngine(t)
	for raw, code := range map[string]int{
		"220-host 421 4.2.1 Service refused":                             421,
		"220-mx.example.com ESMTP\r\n421 4.7.0 Too many connections\r\n": 421,
		"220-mx.example.com\r\n554 No SMTP service here\r\n":             554,
		"220-mx.example.com ESMTP 554 No SMTP service here":              554,
		"220 mx.example.com 554 5.7.1 blocked":                           554,
		"220 mx.example.com ESMTP Postfix":                               220,
		"220 mx.example.com ESMTP build 421 ready":                       220,
		"220-mx.example.com\r\n220 we do not accept spam, 554 follows":   220,
		"250 2.0.0 Ok: 550 5.1.1 was said before":                        250,
		"250-mx.example.com\r\n250 SIZE 554":                             250,
	} {
		r := ParseReply(raw)
		if r.Code != code || r.Raw != raw {
			t.Errorf("%q has code %d, want %d", raw, r.Code, code)
		}
		if d := e.Diagnose(Symptom{Stage: StageGreeting, Reply: r}); (d.Reason == noRefusal) != (code < 400) {
			t.Errorf("%q is %s", raw, d.Reason)
		}
	}
}
