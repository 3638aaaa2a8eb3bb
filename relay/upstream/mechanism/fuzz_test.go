package mechanism

import (
	"strings"
	"testing"
	"unicode"
)

// FuzzRefusal: whatever a server says of a refused token, the explanation is one line of bounded length
// without the token, and the answer is the fixed one.
func FuzzRefusal(f *testing.F) {
	for _, s := range []string{
		`{"status":"401","schemes":"bearer"}`, `{"status":400,"scope":"https://mail.google.com/"}`,
		`{"status":"secret-token\r\n"}`, `{"status":{}}`, "nonsense", "",
		`{"openid-configuration":"https://x.test/secret-token"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, challenge []byte) {
		c, err := NewXOAUTH2(Bearer{Username: "u", Token: "secret-token"})
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := c.Next(challenge); err != nil || len(answer) != 0 {
			t.Errorf("answered %q, %v", answer, err)
		}
		said := c.Refusal()
		if strings.Contains(said, "secret-token") || strings.ContainsFunc(said, unicode.IsControl) ||
			len(said) > 5*(4*maxExplained+30) {
			t.Errorf("explained as %q", said)
		}
	})
}
