package convert

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
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
		{"8-bit in quoted-printable and in the header", "Subject: é\nMIME-Version: 1.0\n" +
			"Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain\n\n=C3=A9 é\n",
			"Subject: =?utf-8?b?w6k=?=\nMIME-Version: 1.0\n" +
				"Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain\n\n=C3=A9 =C3=A9\n"},
		{"8-bit in base64", "MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nYQ=\xa0=\n",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nYQ==\n"},
		{"fields", "Subject: Hello Jörg  Müller =?utf-8?q?=C3=A9?= x\nFrom: Jörg \"Q\" Müller <a@b.test>, " +
			"\"Ö, x\" <c@bücher.test> (né)\nContent-Type: text/plain; name=\"é.txt\"\n\nx\n",
			"Subject: Hello =?utf-8?b?SsO2cmcgIE3DvGxsZXIg?= =?utf-8?q?=C3=A9?= x\n" +
				"From: =?utf-8?b?SsO2cmc=?= \"Q\" =?utf-8?b?TcO8bGxlcg==?= <a@b.test>,\n" +
				" =?utf-8?b?w5YsIHg=?= <c@xn--bcher-kva.test> (=?utf-8?b?bsOp?=)\n" +
				"Content-Type: text/plain; name*=utf-8''%C3%A9.txt\n\nx\n"},
		{"trace", "Received: from x (Ö [192.0.2.1]) by y\nReceived: by y for <ö@b.test>\n\nx\n",
			"Received: from x (=?utf-8?b?w5YgWzE5Mi4wLjIuMV0=?=) by y\n" +
				"Received: by y for =?utf-8?b?PMO2QGIudGVzdD4=?=\n\nx\n"},
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

// TestMemoryIsFlat: a large content takes no more memory than a small one.
func TestMemoryIsFlat(t *testing.T) {
	const size = 16 << 20
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
