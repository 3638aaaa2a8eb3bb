package diagnose

import (
	"encoding/json"
	"strings"
	"testing"
)

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

// seeds are replies as they really arrive: whole, cut, repeated, mangled.
func seeds() []string {
	return []string{
		"", "5", "550", "550 ", "550-", "550 5.1.1", "550 5.1.1 User unknown\r\n", typicalReply,
		"550 (#5.1.1) sorry", "550 #5.7.1 no", "550 5.7.1: x", "550 4.2.2 over quota", "550 5.7.705 tenant",
		"550 05.01.01 x", "host mx.example.com said: 550 5.1.1 unknown (in reply to RCPT TO)",
		"550-5.7.1 one 550-5.7.1 two 550 5.7.1 three", "\xff\xfe550\x00", "550 caf\xe9 \xe9teint", "999 x",
		"221 2.0.0 bye", "452-4.2.2 a\n452 4.2.2 b", strings.Repeat("550-x\r\n", 50),
		"550 " + strings.Repeat("::1 ", 40), "550 用户不存在", "450 try again in 00:05:00",
		"552 exceeds 1e309 MB limit",
	}
}

func FuzzParseReply(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := ParseReply(raw)
		if r.Raw != raw {
			t.Fatalf("bytes changed: %q", r.Raw)
		}
		if r.Code != 0 && (r.Code < 200 || r.Code > 799) {
			t.Fatalf("code %d", r.Code)
		}
		if len(r.Text) > len(raw) {
			t.Fatalf("text of %d bytes from %d", len(r.Text), len(raw))
		}
		j, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Reply
		if err := json.Unmarshal(j, &back); err != nil || back != r {
			t.Fatalf("stored and read again: %+v, %v, want %+v", back, err, r)
		}
	})
}
