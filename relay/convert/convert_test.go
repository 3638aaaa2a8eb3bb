package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"runtime"
	"slices"
	"strings"
	"testing"

	stdbase64 "encoding/base64"
)

// opener opens a content.
func opener(content string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
}

// convert converts a content for a server that takes as little as can be.
func convert(t testing.TB, content string) (string, bool, error) {
	t.Helper()
	r, changed, err := Open(opener(content), Needs{SevenBit: true, LongLines: true})
	if err != nil {
		return "", false, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), changed, nil
}

// lines writes a content with LF alone.
func lines(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestConverted(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"text", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" +
			"Content-Transfer-Encoding: 8bit\n\ncafé = x \n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" +
				"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9 =3D x=20\n"},
		{"nothing is said of it", "Subject: x\n\ncafé\n",
			"Subject: x\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n" +
				"Content-Type: text/plain; charset=utf-8\n\ncaf=C3=A9\n"},
		{"nothing is known of it", "Subject: x\n\ncaf\xe9\n",
			"Subject: x\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n" +
				"Content-Type: text/plain; charset=unknown-8bit\n\ncaf=E9\n"},
		{"no text", "MIME-Version: 1.0\nContent-Type: application/x\n" +
			"Content-Transfer-Encoding: binary\n\n\xff\n\xfe",
			"MIME-Version: 1.0\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\n/w0K/g=="},
		{"a part of several", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n" +
			"Content-Transfer-Encoding: 8bit\n\npré\n--b\nContent-Type: text/plain; charset=utf-8\n" +
			"Content-Transfer-Encoding: 8bit\n\né\n--b\n\nplain\n\n--b--\nend é\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n" +
				"Content-Transfer-Encoding: 7bit\n\npr?\n--b\nContent-Type: text/plain; charset=utf-8\n" +
				"Content-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b\n\nplain\n\n--b--\nend ?\n"},
		{"a message in a message", "MIME-Version: 1.0\nContent-Type: message/rfc822\n" +
			"Content-Transfer-Encoding: 8bit\n\nSubject: é\n\né\n",
			"MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\n" +
				"Subject: =?utf-8?b?w6k=?=\n" +
				"Content-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n" +
				"Content-Type: text/plain; charset=utf-8\n\n=C3=A9\n"},
		{"8-bit in quoted-printable", "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n" +
			"Content-Type: text/plain\n\n=C3=A9 é\n", "MIME-Version: 1.0\n" +
			"Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain\n\n=C3=A9 =C3=A9\n"},
		{"8-bit in base64", "MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nYQ=\xa0=\n",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nYQ==\n"},
		{"fields", "Subject: Hello Jörg  Müller =?utf-8?q?=C3=A9?= x\nFrom: Jörg \"Q\" Müller <a@b.test>, " +
			"\"Ö, x\" <c@bücher.test> (né)\nContent-Type: text/plain; name=\"é.txt\"\n\nx\n",
			"Subject: Hello =?utf-8?b?SsO2cmcgIE3DvGxsZXIg?= =?utf-8?q?=C3=A9?= x\n" +
				"From: =?utf-8?b?SsO2cmc=?= \"Q\" =?utf-8?b?TcO8bGxlcg==?= <a@b.test>,\n" +
				" =?utf-8?b?w5YsIHg=?= <c@xn--bcher-kva.test> (=?utf-8?b?bsOp?=)\n" +
				"Content-Type: text/plain; name*=utf-8''%C3%A9.txt\n\nx\n"},
		{"a long line", "Subject: x\n\n" + strings.Repeat("a", 1000) + "\n", "Subject: x\n" +
			"Content-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n" +
			"Content-Type: text/plain; charset=utf-8\n\n" +
			strings.Repeat(strings.Repeat("a", 75)+"=\n", 13) + strings.Repeat("a", 25) + "\n"},
	} {
		got, changed, err := convert(t, lines(tt.content))
		if err != nil || !changed || got != lines(tt.want) {
			t.Errorf("%s: changed %t, %v:\n%s\nwant:\n%s", tt.name, changed, err, got, tt.want)
		}
	}
}

// What needs nothing is not touched, nor is what must not be.
func TestUnchanged(t *testing.T) {
	const signed = "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\n"
	for _, tt := range []struct {
		name, content string
		fails         bool
	}{
		{"plain", "Subject: x\n\nhello\n", false},
		{"empty", "", false},
		{"no body", "Subject: x\n", false},
		{"encoded", "MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nYQ==\n", false},
		{"declared, but not so", "MIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\n\nx\n", false},
		{"signed, and plain", signed + "\nx\n--b--\n", false},
		{"signed", signed + "\né\n--b--\n", true},
		{"signed header", signed + "X: é\n\nx\n--b--\n", true},
		{"signed, in a message", "Content-Type: message/rfc822\n\n" + signed + "\né\n--b--\n", true},
		{"a piece of a message", "Content-Type: message/partial; id=x; number=1\n\né\n", true},
		{"an encoding unknown", "Content-Transfer-Encoding: x-uuencode\n\né\n", true},
		{"a name without another form", "From: jörg@b.test\n\nx\n", true},
		{"a boundary", "Content-Type: multipart/mixed; boundary=\"é\"\n\n--é\n\nx\n--é--\n", true},
		{"too deep", strings.Repeat("Content-Type: message/rfc822\n\n", maxDepth+2), true},
		{"a long header", "Subject: é" + strings.Repeat("x", maxHeader) + "\n\nx\n", true},
	} {
		got, changed, err := convert(t, lines(tt.content))
		_, failed := errors.AsType[*Error](err)
		if changed || failed != tt.fails || !failed && got != lines(tt.content) {
			t.Errorf("%s: changed %t, %v\n%s", tt.name, changed, err, got)
		}
	}
}

// seen is a part as a reader sees it.
type seen struct {
	kind   string
	fields []string // decoded
	body   string   // decoded
}

// view reads a content as a mail program does.
func view(t testing.TB, content []byte) []seen {
	t.Helper()
	header, body, _ := bytes.Cut(content, []byte("\r\n\r\n"))
	m, err := mail.ReadMessage(bytes.NewReader(append(append(header, "\r\n\r\n"...), body...)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, content)
	}
	b, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return viewPart(t, map[string][]string(m.Header), b)
}

func viewPart(t testing.TB, h map[string][]string, b []byte) []seen {
	t.Helper()
	get := func(name string) string { return strings.Join(h[name], "") }
	full, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil {
		full = "text/plain"
	}
	p := seen{kind: full}
	for name, values := range h {
		for _, v := range values {
			switch name {
			case "Content-Transfer-Encoding", "Mime-Version":
			case "Content-Type":
				for k, v := range params {
					p.fields = append(p.fields, name+" "+k+"="+v)
				}
			case "From", "To":
				list, err := mail.ParseAddressList(v)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, v, err)
				}
				for _, a := range list {
					p.fields = append(p.fields, name+" "+a.Name+" "+a.Address)
				}
			default:
				d, err := new(mime.WordDecoder).DecodeHeader(v)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, v, err)
				}
				p.fields = append(p.fields, name+" "+d)
			}
		}
	}
	slices.Sort(p.fields)
	list := []seen{p}
	switch {
	case strings.HasPrefix(full, "multipart/"):
		r := multipart.NewReader(bytes.NewReader(b), params["boundary"])
		for {
			part, err := r.NextRawPart()
			if err == io.EOF {
				return list
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(part)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, viewPart(t, part.Header, b)...)
		}
	case full == "message/rfc822":
		return append(list, view(t, b)...)
	}
	var r io.Reader = bytes.NewReader(b)
	switch strings.ToLower(get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = stdbase64.NewDecoder(stdbase64.StdEncoding, r)
	}
	decoded, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	list[0].body = string(decoded)
	return list
}

// random makes contents of every shape.
type random struct{ *rand.Rand }

func (r random) pick(list ...string) string { return list[r.IntN(len(list))] }

// words are some, of any kind.
func (r random) words(kinds ...string) string {
	var list []string
	for range 1 + r.IntN(8) {
		list = append(list, r.pick(kinds...))
	}
	return strings.Join(list, " ")
}

func (r random) phrase() string {
	return r.pick("Ann", "Jörg Müller", "J. Müller", `"Ö, \"x\""`, "日本 語", `"Ann"`, "A Ü B")
}

// header is one of a part; root says that it is a message's.
func (r random) header(root bool) string {
	if !root {
		return ""
	}
	h := "From: " + r.phrase() + " <a@b.test>\r\nSubject: " +
		r.words("x", "é", "日本", "=?utf-8?q?=C3=A9?=", strings.Repeat("ü", 60)) + "\r\n"
	if r.IntN(2) == 0 {
		h += "To: " + r.phrase() + " <c@d.test>,\r\n\t" + r.phrase() + " <e@f.test>\r\n"
	}
	return h + "MIME-Version: 1.0\r\n"
}

// entity is a part: depth bounds how deep it goes.
func (r random) entity(root bool, depth int) string {
	h := r.header(root)
	switch n := r.IntN(6); {
	case n < 2 && depth > 0:
		b := fmt.Sprint("b", depth, "-", r.IntN(1000))
		s := h + "Content-Type: multipart/mixed; boundary=" + b + "\r\n" +
			r.pick("", "Content-Transfer-Encoding: 8bit\r\n") + "\r\n" + r.pick("", "preamblé\r\n")
		for range 1 + r.IntN(3) {
			s += "--" + b + "\r\n" + r.entity(false, depth-1) + "\r\n"
		}
		return s + "--" + b + "--\r\n" + r.pick("", "épilogue\r\n")
	case n == 2 && depth > 0:
		return h + "Content-Type: message/rfc822\r\n\r\n" + r.entity(true, depth-1)
	}
	kind := r.pick("text/plain; charset=utf-8", "text/html; charset=utf-8; name=\"é x\"", "application/pdf")
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString(r.pick("plain", "é", "trailing \t", "=20", ".", "..", "From x", "", "\xff\x00\xfe",
			strings.Repeat("long é", 300), strings.Repeat("z", 70000)) + "\r\n")
	}
	if r.IntN(2) == 0 {
		b.WriteString("no end é")
	}
	return h + "Content-Type: " + kind + "\r\n" + r.pick("Content-Transfer-Encoding: 8bit\r\n", "",
		"content-transfer-encoding:binary\r\n") + "\r\n" + b.String()
}

// TestSameWhenDecoded: whatever a content is made of, its bodies and fields are the same when they are
// decoded again, it is 7-bit, has no long lines, and has nothing to be done a second time.
func TestSameWhenDecoded(t *testing.T) {
	for seed := range uint64(3000) {
		content := random{rand.New(rand.NewPCG(seed, 1))}.entity(true, 3)
		got, _, err := convert(t, content)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, content)
		}
		if !ascii(got) {
			t.Fatalf("seed %d: it is not 7-bit:\n%s", seed, got)
		}
		for line := range strings.SplitSeq(got, "\r\n") {
			if len(line) > maxLine {
				t.Fatalf("seed %d: a line of %d bytes", seed, len(line))
			}
		}
		was, is := view(t, []byte(content)), view(t, []byte(got))
		if !slices.EqualFunc(was, is, func(a, b seen) bool {
			return a.kind == b.kind && a.body == b.body && slices.Equal(a.fields, b.fields)
		}) {
			t.Fatalf("seed %d:\n%.3000q\nbecame\n%.3000q\n%q\n%q", seed, content, got, was, is)
		}
		if again, changed, err := convert(t, got); err != nil || changed || again != got {
			t.Fatalf("seed %d: converted twice: %v", seed, err)
		}
	}
}

// TestMemoryIsFlat: a large content takes no more memory than a small one.
func TestMemoryIsFlat(t *testing.T) {
	const size = 64 << 20
	open := func() (io.ReadCloser, error) {
		line := []byte(strings.Repeat("é", 30) + "\r\n")
		return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"),
			io.LimitReader(repeated{line}, size))), nil
	}
	r, changed, err := Open(open, Needs{SevenBit: true})
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	defer r.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if n, err := io.Copy(io.Discard, r); err != nil || n < size {
		t.Fatal(n, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 4<<20 {
		t.Errorf("%d bytes more in use", grown)
	}
	if total := after.TotalAlloc - before.TotalAlloc; total > size/4 {
		t.Errorf("%d bytes allocated on the way", total)
	}
}

// repeated is a line without end.
type repeated struct{ line []byte }

func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for n+len(r.line) <= len(p) {
		n += copy(p[n:], r.line)
	}
	if n == 0 {
		n = copy(p, r.line)
	}
	return n, nil
}

func BenchmarkConvert(b *testing.B) {
	content := "Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		strings.Repeat("caf\xc3\xa9 au lait\r\n", 280)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		if _, changed, err := convert(b, content); err != nil || !changed {
			b.Fatal(err)
		}
	}
}
