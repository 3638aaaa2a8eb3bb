package rewrite

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/mail"
	"regexp"
	"strings"
	"testing"

	"mailwhy/relay"
)

// split divides a content into its fields and the rest, in another way than the code under test: line by
// line.
func split(content string) (fields []string, rest string) {
	isField := regexp.MustCompile(`^[!-9;-~]+[ \t]*:`)
	for rest = content; rest != ""; {
		_, after, _ := strings.Cut(rest, "\r\n")
		line := rest[:len(rest)-len(after)]
		switch {
		case len(fields) > 0 && (line[0] == ' ' || line[0] == '\t'):
			fields[len(fields)-1] += line
		case isField.MatchString(line):
			fields = append(fields, line)
		default:
			return fields, rest
		}
		rest = after
	}
	return fields, ""
}

// everything is a Rewriter that uses all there is.
func everything() *Rewriter {
	o := toAccount()
	o.Log = slog.New(slog.DiscardHandler)
	o.Rules[0].Remove = []string{"X-Gone"}
	o.Rules[0].Set = []Field{{"X-Set", "set"}}
	o.Add = []Field{{"X-Added", "added"}, {"To", "nobody@x.example"}}
	o.Sandbox = Sandbox{On: true, Redirect: "qa@x.example", Subject: "[SANDBOX]"}
	w, err := New(o)
	if err != nil {
		panic(err)
	}
	return w
}

// check rewrites a content, and returns what is wrong with the result.
func check(w *Rewriter, content string) error {
	m := message("app@shop.example", "joe@there.example")
	w.Accept(m)
	tx := &relay.Transaction{Message: m, Recipients: []int{0},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
	w.Prepare(tx)
	r, err := tx.Open()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	old, oldRest := split(content)
	now, rest := split(string(b))
	if strings.HasPrefix(oldRest, " ") || strings.HasPrefix(oldRest, "\t") {
		oldRest = "\r\n" + oldRest
	}
	if rest != oldRest {
		return fmt.Errorf("the body was %q and is %q", oldRest, rest)
	}
	known := map[string]int{}
	for _, f := range old {
		known[strings.TrimSuffix(f, "\r\n")]++
	}
	froms := 0
	for _, f := range now {
		name, value, _ := strings.Cut(f, ":")
		switch name = strings.ToLower(strings.TrimRight(name, " \t")); name {
		case "from":
			froms++
			if !isAddress([]byte(strings.TrimSuffix(value, "\r\n")), "noreply@corp.example") {
				return fmt.Errorf("From is %q", value)
			}
		case "reply-to", "sender", "subject", "to", "x-original-from", "x-original-sender", "x-original-to",
			"x-added", "x-set":
		case "x-gone":
			return fmt.Errorf("%q is left", f)
		default:
			if known[strings.TrimSuffix(f, "\r\n")]--; known[strings.TrimSuffix(f, "\r\n")] < 0 {
				return fmt.Errorf("%q was made", f)
			}
		}
	}
	if froms != 1 {
		return fmt.Errorf("%d From fields", froms)
	}
	return nil
}

// pieces are what odd headers are made of.
func pieces() []string {
	return []string{"From:", "from :", "Reply-To: ", "Sender: ", "Subject:", "To: x@y.example", "X-Gone: 1",
		"DKIM-Signature: d=a; h=from", "\r\n", "\r\n", "\r\n", "\r\n ", "\r\n\t", " ",
		",", ";", ":", "<", ">",
		"@", "\"", "\\", "(", ")", "a@b.example", "<a@b.example>", "Team: ", "=?utf-8?q?x?=", "=?x?b?", "é",
		"\xff", "\x00", "name", "\r", "\n", ".", "[", "]", "<@r:a@b.example>", "noreply@corp.example"}
}

// TestAnyHeader: a rewritten message made of odd pieces still parses, its body is unchanged, and no field
// comes from anywhere but the old header and the rules.
func TestAnyHeader(t *testing.T) {
	w, r := everything(), rand.New(rand.NewPCG(1, 2))
	all := pieces()
	for i := range 50_000 {
		var b strings.Builder
		for range r.IntN(40) {
			b.WriteString(all[r.IntN(len(all))])
		}
		if err := check(w, b.String()); err != nil {
			t.Fatalf("%d: %q: %v", i, b.String(), err)
		}
	}
}

// TestParses: what leaves parses with the standard library, too.
func TestParses(t *testing.T) {
	w := newWorld(t, toAccount())
	got := sent(t, w.transaction(message("a@corp.example", "b@x.example"),
		crlf("Received: x\nFrom: \"A\" <a@corp.example>\nSubject: y\n\nbody\n")))
	m, err := mail.ReadMessage(strings.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].String() != `"A" <noreply@corp.example>` {
		t.Errorf("From is %v, %v", from, err)
	}
	if body, err := io.ReadAll(m.Body); string(body) != "body\r\n" {
		t.Errorf("the body is %q, %v", body, err)
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add("From: A <a@b.example>\r\nSubject: x\r\n\r\nbody\r\n")
	f.Add("From: Team: a@b.example, C <c@d.example>;\r\nFrom: x\r\nnot a field\r\n\r\n")
	f.Add("From:\r\n =?x?q?y?=\r\n\t<@r:\"a b\"@c.example>\r\nX-Gone: 1\r\n")
	w := everything()
	f.Fuzz(func(t *testing.T, content string) {
		if err := check(w, content); err != nil {
			t.Error(err)
		}
	})
}
