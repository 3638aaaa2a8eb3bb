package sign

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzSign: whatever is in the fields and the body of a content, it is signed, passes unchanged behind the
// signatures, and they verify.
func FuzzSign(f *testing.F) {
	f.Add("From: Shop\n\t<shop@shop.test>\nSubject: x\nsubject:y\n", "body \n\n .\n\n")
	f.Add("From : a@shop.test\nContent-Type:\n x;\n\ty\n", "")
	f.Add("X-Mailbox-Line: From x\nTo:\n \n\t\n", "no end\t ")
	f.Add("From:\xff=;:\nDKIM-Signature: v=1; h=From; b=\n", "\n")
	z := zone{}
	s := newSigner(f, io.Discard,
		z.add(f, "ed25519", "shop.test", "s1"), z.add(f, "ed25519", "shop.test", "s2"))
	crlf := func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), "\n", "\r\n")
	}
	f.Fuzz(func(t *testing.T, header, body string) {
		content := crlf(fields(header)) + "\r\n" + crlf(body)
		tx := transaction("shop.test", content)
		s.Prepare(tx)
		got := read(t, tx)
		if !strings.HasSuffix(got, content) {
			t.Fatalf("%q became %q", content, got)
		}
		v := valid(t, z, got)
		if len(v) < 2 || !slices.Equal(v[:2], []string{"shop.test", "shop.test"}) {
			t.Fatalf("signatures %q of %q", v, got)
		}
	})
}

// fields makes a header of lines: the front door lets nothing pass that is none.
func fields(lines string) string {
	field := regexp.MustCompile("^[!-9;-~]+:")
	var out strings.Builder
	for line := range strings.SplitSeq(strings.ReplaceAll(lines, "\r", ""), "\n") {
		switch {
		case line == "":
			continue
		case out.Len() > 0 && (line[0] == ' ' || line[0] == '\t'):
		case !field.MatchString(line):
			out.WriteString("X: ")
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}
