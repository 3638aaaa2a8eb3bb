package pattern

import "testing"

func TestSet(t *testing.T) {
	for _, c := range []struct {
		entry string
		in    []string
		out   []string
	}{
		{"joe@example.com", []string{"joe@example.com", "JOE@EXAMPLE.com"},
			[]string{"jo@example.com", "", "joe@sub.example.com"}},
		{"@example.com", []string{"a@example.com", "b@Example.COM"},
			[]string{"a@sub.example.com", "a@xexample.com", ""}},
		{"@.example.com", []string{"a@x.example.com", "a@y.x.example.com"},
			[]string{"a@example.com", "a@xexample.com"}},
		{"<>", []string{""}, []string{"a@example.com"}},
		{"@bücher.example", []string{"a@xn--bcher-kva.example", "a@BÜCHER.example"},
			[]string{"a@bucher.example"}},
		{`"odd @ one"@example.com`, []string{`"odd @ one"@example.com`}, []string{"one@example.com"}},
	} {
		if err := Check(c.entry); err != nil {
			t.Errorf("Check(%q): %v", c.entry, err)
		}
		s := New([]string{c.entry})
		for _, a := range c.in {
			if !s.Has(a) {
				t.Errorf("%q has not %q", c.entry, a)
			}
		}
		for _, a := range c.out {
			if s.Has(a) {
				t.Errorf("%q has %q", c.entry, a)
			}
		}
		if s.Empty() {
			t.Errorf("%q is empty", c.entry)
		}
	}
	if s := New(nil); !s.Empty() || s.Has("") || s.Has("a@b.example") {
		t.Error("the set of nothing has something")
	}
	for _, bad := range []string{"", "@", ".", "a b@c.example", "a@", "@a..b", "a@b\nc", "*", "example.com",
		".example.com", "a@b.", "a..b@c.example"} {
		if Check(bad) == nil {
			t.Errorf("Check(%q) accepts it", bad)
		}
	}
}
