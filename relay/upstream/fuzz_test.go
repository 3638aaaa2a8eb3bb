package upstream

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"mailwhy/diagnose"
)

// FuzzReply: whatever a server says, each reply is a piece of it, in order and whole, and has the code that
// diagnose will find in it.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "550\r\n", "550\tx\n",
		"550-a\r\nb\r\n451 c\r\n", "250x\r\n", "\r\n", "354", "5500\r\n", "250.1 x\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		rr, rest := newReplyReader(iotest.OneByteReader(bytes.NewReader(said))), string(said)
		for {
			r := rr.next()
			if r.err != nil {
				return
			}
			if !strings.HasPrefix(rest, r.raw) || r.raw[len(r.raw)-1] != '\n' && r.cut == 0 {
				t.Fatalf("%q is not the beginning of %q", r.raw, rest)
			}
			rest = rest[len(r.raw)+int(r.cut):]
			if code := diagnose.ParseReply(r.raw).Code; code != r.code {
				t.Fatalf("%q: code %d, diagnose says %d", r.raw, r.code, code)
			}
		}
	})
}

// FuzzContent: what a server reads, wherever our blocks end, is the content that we were given.
func FuzzContent(f *testing.F) {
	f.Add([]byte("a\r\n.b\r\n..\r\n"), 3)
	f.Add([]byte("."), 1)
	f.Add([]byte(""), 1)
	f.Add([]byte("no end"), 2)
	f.Fuzz(func(t *testing.T, content []byte, size int) {
		var dots dotStuffer
		var out []byte
		for rest := content; len(rest) > 0; {
			n := min(len(rest), max(1, size))
			out, rest = dots.append(out, rest[:n]), rest[n:]
		}
		out = dots.end(out)
		if i := bytes.Index(append([]byte("\r\n"), out...), []byte("\r\n.\r\n")); i+3 != len(out) {
			t.Fatalf("%q ends at %d of %d", out, i+3, len(out))
		}
		var got []byte
		for line := range bytes.Lines(out[:len(out)-3]) {
			got = append(got, bytes.TrimPrefix(line, []byte("."))...)
		}
		if want := content; !bytes.Equal(got, want) && !bytes.Equal(got, append(want, "\r\n"...)) {
			t.Fatalf("%q became %q", content, got)
		}
	})
}
