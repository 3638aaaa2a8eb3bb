package convert

import (
	"bytes"
	stdbase64 "encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"slices"
	"strings"
	"testing"
)

// FuzzConvert: no content makes it fail but with an *Error, and what comes out is 7-bit, has no long lines,
// needs nothing more, and has the same parts, fields and bodies when they are decoded: nothing of a body
// becomes a field or a boundary.
func FuzzConvert(f *testing.F) {
	for seed := range uint64(20) {
		if s := (random{rand.New(rand.NewPCG(seed, 2))}).entity(true, 2); len(s) < 10_000 {
			f.Add(s)
		}
	}
	for _, seed := range []string{
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + strings.Repeat("x", 75) +
			"--b\r\n\r\nFrom: é\r\n" + strings.Repeat("y", 75) + "--b--\r\n--b--\r\n",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n==41=4=41=\r\n=é" + strings.Repeat("=", 99),
		"Content-Transfer-Encoding: base64\r\n\r\nYQ==é" + strings.Repeat("-", 99),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		// what is stored has no other line ends
		content = strings.ReplaceAll(strings.ReplaceAll(content, "\r", ""), "\n", "\r\n")
		got, changed, err := convert(t, content)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatal(err)
			}
			return
		}
		if !changed && got != content {
			t.Fatal("it is changed, and says that it is not")
		}
		if !ascii(got) {
			t.Fatalf("it is not 7-bit: %q", got)
		}
		was, is := decode(t, content), decode(t, got)
		for i, p := range was {
			if i >= len(is) || !p.same(&is[i]) {
				t.Fatalf("%q\nbecame\n%q\npart %d of\n%+v\nis not that of\n%+v", content, got, i, was, is)
			}
		}
		if len(was) != len(is) {
			t.Fatalf("%q\nbecame\n%q: %d parts, then %d", content, got, len(was), len(is))
		}
		if again, changed, err := convert(t, got); err != nil || changed || again != got {
			t.Fatalf("converted once more: %v\n%q became\n%q", err, got, again)
		}
	})
}

// decoded is a part with its fields and its body decoded.
type decoded struct {
	kind     kind
	boundary string
	fields   []string
	body     string
	bounds   int // boundaries in it
}

// same compares a part with what became of it, which may have a type that the part did not have.
func (d *decoded) same(o *decoded) bool {
	fields := slices.Clone(o.fields)
	for _, name := range []string{"content-type: ", "mime-version: "} {
		named := func(f string) bool { return strings.HasPrefix(f, name) }
		if !slices.ContainsFunc(d.fields, named) {
			fields = slices.DeleteFunc(fields, named)
		}
	}
	return d.kind == o.kind && d.boundary == o.boundary && slices.Equal(d.fields, fields) &&
		d.body == o.body && d.bounds == o.bounds
}

// decoder is the visitor that decodes a content.
type decoder struct {
	parts []decoded
	index map[*part]int
	raw   bytes.Buffer
}

// decode decodes a content.
func decode(t *testing.T, content string) []decoded {
	t.Helper()
	d := &decoder{index: map[*part]int{}}
	if err := (&walk{in: newInput(strings.NewReader(content)), to: d}).content(); err != nil {
		t.Fatal(err)
	}
	return d.parts
}

func (d *decoder) header(p *part, h []byte) error {
	d.index[p] = len(d.parts)
	one := decoded{kind: p.kind, boundary: p.boundary}
	eachField(h, func(name string, field []byte) {
		value := strings.ReplaceAll(strictly(unfolded(field)), "\t", " ")
		switch {
		case name == "content-transfer-encoding", len(bytes.Trim(field, "\r\n")) == 0:
			return
		case name == "content-type", name == "content-disposition":
			full, params := readType(unfolded(field))
			value = fmt.Sprintf("%s %q", full, params)
		case isAddresses(name), name == "received":
			value = "" // TestSameWhenDecoded reads them
		}
		one.fields = append(one.fields, name+": "+value)
	})
	d.parts = append(d.parts, one)
	d.raw.Reset()
	return nil
}

// strictly decodes the encoded words of a text as RFC 2047, 6.2, has it. Charsets do not matter.
func strictly(text string) string {
	var out strings.Builder
	gap, encoded := "", false
	for i, word := range splitBlanks(text) {
		if i%2 == 1 {
			gap = word
			continue
		}
		plain, ok := decodeWord(word)
		if !ok || !encoded {
			out.WriteString(gap)
		}
		out.WriteString(plain)
		encoded, gap = ok, ""
	}
	return out.String() + gap
}

// decodeWord decodes a word, if it is an encoded one.
func decodeWord(word string) (string, bool) {
	any := func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	decoder := mime.WordDecoder{CharsetReader: any}
	plain, err := decoder.Decode(word)
	if err != nil {
		return word, false
	}
	return plain, true
}

func (d *decoder) body(_ *part, b []byte) error { d.raw.Write(b); return nil }

func (d *decoder) lineEnd(_ *part, b []byte) error { d.raw.Write(b); return nil }

func (d *decoder) ended(p *part) error {
	one := &d.parts[d.index[p]]
	switch p.encoded {
	case quotedPrintable:
		one.body = unquote(d.raw.String())
	case base64:
		one.body = strings.Map(func(r rune) rune {
			if r < 0x80 && (r == '+' || r == '/' || r == '=' || isAlnum(byte(r))) {
				return r
			}
			return -1
		}, d.raw.String())
		if b, err := stdbase64.StdEncoding.DecodeString(one.body); err == nil {
			one.body = string(b)
		}
	default:
		one.body = d.raw.String()
	}
	d.raw.Reset()
	return nil
}

func (d *decoder) around(p *part, _ []byte, boundary bool) error {
	if boundary {
		d.parts[d.index[p]].bounds++
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// unquote decodes quoted-printable, and leaves what is none.
func unquote(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		var x byte
		switch rest := s[i:]; {
		case rest[0] != '=':
			out.WriteByte(rest[0])
		case strings.HasPrefix(rest, "=\r\n"):
			i += 2
		case len(rest) > 2 && hexByte(rest[1:3], &x):
			out.WriteByte(x)
			i += 2
		default:
			out.WriteByte('=')
		}
	}
	return out.String()
}

// hexByte reads two digits, capitals or not.
func hexByte(s string, x *byte) bool {
	n, err := fmt.Sscanf(s, "%02x", x)
	return n == 1 && err == nil && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
