package convert

import (
	stdbase64 "encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"testing"
)

// What broken writers put into a header is read as readers read it, and converted.
func TestLooseHeaders(t *testing.T) {
	const text = "Content-Type: text/plain; charset=utf-8\n"
	const qp = "Content-Transfer-Encoding: quoted-printable\n"
	for _, label := range []string{"8bit;", "8-bit", "8BIT (as it is)", `"8bit"`, "utf-8", "", "7-bit"} {
		content := "MIME-Version: 1.0\n" + text + "Content-Transfer-Encoding: " + label + "\n\né =41\n"
		want := "MIME-Version: 1.0\n" + text + qp + "\n=C3=A9 =3D41\n"
		if got, _, err := convert(t, lines(content)); err != nil || got != lines(want) {
			t.Errorf("%q: %v\n%s", label, err, got)
		}
	}
	for value, boundary := range map[string]string{
		"multipart/mixed; boundary=----=_Part_1":                       "----=_Part_1",
		"multipart/mixed; boundary=a:b/c; charset=utf-8":               "a:b/c",
		"multipart/mixed; charset=utf-8; charset=x; boundary=abc":      "abc",
		`multipart/mixed; boundary="----=_1"; boundary="x"`:            "----=_1",
		`multipart/related; boundary="abc"; type=text/html; start=<a>`: "abc",
		"multipart/mixed;; boundary=abc":                               "abc",
		"Multipart/Mixed (all of it); BOUNDARY=abc":                    "abc",
		`multipart/mixed; boundary=abc; name="x`:                       "abc",
		`multipart/mixed; boundary="abc "`:                             "abc",
		`multipart/mixed; boundary="a;\"b"; name=x y`:                  `a;"b`,
	} {
		head := "MIME-Version: 1.0\nContent-Type: " + value + "\n\n--" + boundary + "\n" + text
		end := "\n--" + boundary + "--\n"
		got, _, err := convert(t, lines(head+"\né"+end))
		if want := lines(head + qp + "\n=C3=A9" + end); err != nil || got != want {
			t.Errorf("%s: %v\n%s", value, err, got)
		}
	}
	for value, name := range map[string]string{
		"attachment; filename=café.pdf":                    "café.pdf",
		"attachment;filename=é a b.pdf;":                   "é a b.pdf",
		`attachment; filename="é"x`:                        "é",
		`inline; filename="é`:                              "é",
		"attachment; filename*=UTF-8''%C3%A9é x.pdf":       "éé x.pdf",
		"attachment; filename*=utf-8''100%é":               "100%é",
		`attachment; filename=é; filename="b"; size=1 000`: "é",
	} {
		got, _, err := convert(t, lines("Content-Disposition: "+value+"\n\nx\n"))
		field, _, _ := strings.Cut(strings.TrimPrefix(got, "Content-Disposition: "), "\r\n\r\n")
		_, params, parseErr := mime.ParseMediaType(strings.ReplaceAll(field, "\r\n", ""))
		if err != nil || parseErr != nil || params["filename"] != name {
			t.Errorf("%s: %v, %v\n%s", value, err, parseErr, got)
		}
	}
}

// Of two fields that say what a body is, the first counts.
func TestTwiceSaid(t *testing.T) {
	for content, want := range map[string]string{
		"Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: quoted-printable\n" +
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\né =41\n": //
		"Content-Transfer-Encoding: quoted-printable\n" +
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n=C3=A9 =3D41\n",
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" +
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n\né\n--b--\n": //
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" +
			"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: quoted-printable\n" +
			"\n--b\n\n=C3=A9\n--b--\n",
	} {
		if got, _, err := convert(t, lines(content)); err != nil || got != lines(want) {
			t.Errorf("%v\n%s", err, got)
		}
	}
}

// A multipart of which no part is found has a text that readers show: it is not thrown away.
func TestNoParts(t *testing.T) {
	const head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
	for content, fails := range map[string]bool{
		"--c\n\né\n--c--\n":             true,
		"é":                             true,
		"plain\n":                       false,
		"é\n--b\n\nx\n--b--\né\n":       false,
		"--b\n" + head + "é\n\n--b--\n": true, // the inner one ends, and has no part
	} {
		_, _, err := convert(t, lines(head+content))
		if _, failed := errors.AsType[*Error](err); failed != fails {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// A header of bytes of which nobody says what they are has encoded words and lines as short as any other.
func TestUnknownBytesInHeader(t *testing.T) {
	value := strings.Repeat("\xe9t\xe9 ", 300) + strings.Repeat("\xe9", 900)
	got, _, err := convert(t, "Subject: "+value+"\r\n\r\nx\r\n")
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(got, "\r\n\r\n")
	decoder := mime.WordDecoder{CharsetReader: func(charset string, in io.Reader) (io.Reader, error) {
		if charset != unknownCharset {
			t.Errorf("charset %s", charset)
		}
		return in, nil
	}}
	for _, line := range strings.Split(header, "\r\n") {
		if len(line) > maxFolded+len("Subject: ") {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	decoded, err := decoder.DecodeHeader(strings.ReplaceAll(header, "\r\n", ""))
	if err != nil || decoded != "Subject: "+value {
		t.Errorf("%v: %q", err, decoded)
	}
}

// The lines of an encoded body that are too long are broken, and it decodes to the same.
func TestLongEncodedLines(t *testing.T) {
	var plain strings.Builder
	for i := range 2997 {
		plain.WriteString([]string{"a", "=", " ", "é", "bcdefg", "\t", "."}[i*i%7])
	}
	coded64 := stdbase64.StdEncoding.EncodeToString([]byte(plain.String()))
	codedQP := strings.NewReplacer("=", "=3D", "é", "=C3=A9", "\t.", "\t=\r\n.").Replace(plain.String())
	for coding, body := range map[string]string{"base64": coded64, "quoted-printable": codedQP} {
		got, changed, err := convert(t, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
			"Content-Transfer-Encoding: "+coding+"\r\n\r\n"+body+"\r\n")
		_, out, _ := strings.Cut(got, "\r\n\r\n")
		if err != nil || !changed {
			t.Fatalf("%s: changed %t, %v", coding, changed, err)
		}
		for _, line := range strings.Split(out, "\r\n") {
			if len(line) > maxEncoded {
				t.Errorf("%s: a line of %d bytes: %s", coding, len(line), line)
			}
		}
		var r io.Reader = quotedprintable.NewReader(strings.NewReader(strings.TrimSuffix(out, "\r\n")))
		if coding == "base64" {
			r = stdbase64.NewDecoder(stdbase64.StdEncoding, strings.NewReader(out))
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != plain.String() {
			t.Errorf("%s: %v, %d bytes, want %d", coding, err, len(b), plain.Len())
		}
	}
}
