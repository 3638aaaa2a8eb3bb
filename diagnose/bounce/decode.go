package bounce

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
)

// encoding is how the body is encoded: base64, quoted-printable or "" for not at all.
func (p *part) encoding() string {
	e := strings.ToLower(strings.TrimSpace(p.fields.get("Content-Transfer-Encoding")))
	if e == "base64" || e == "quoted-printable" {
		return e
	}
	return ""
}

// body is the body as it stands in the file.
func (p *part) body() []byte { return p.file[p.start:p.end] }

// decoded is the body without its encoding, as far as it can be read, in lines that end in CRLF or LF.
func (p *part) decoded() []byte {
	b, _ := p.decode(p.body())
	return inLines(b)
}

// opening is the beginning of the body without its encoding, at least n bytes of it where it has as many.
func (p *part) opening(n int) []byte {
	enough := 4 * n // an octet is at most =XX (RFC 2045, 6.7), and there are line ends
	b, _ := p.decode(p.body()[:min(p.end-p.start, enough)])
	return inLines(b)
}

// decode takes the encoding off body. With an error it returns what came before the fault.
func (p *part) decode(body []byte) ([]byte, error) {
	p.doc.work += int64(len(body))
	switch p.encoding() {
	case "base64":
		src := withoutSpace(body)
		out := make([]byte, base64.StdEncoding.DecodedLen(len(src)))
		n, err := base64.StdEncoding.Decode(out, src)
		return out[:n], err
	case "quoted-printable":
		whole := bufio.NewReaderSize(bytes.NewReader(body), len(body)+16) // no line is too long for it
		return io.ReadAll(quotedprintable.NewReader(whole))
	}
	return body, nil
}

// withoutSpace is b without the line ends and spaces, which mean nothing in base64 (RFC 2045, 6.8).
func withoutSpace(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c != '\r' && c != '\n' && c != ' ' && c != '\t' {
			out = append(out, c)
		}
	}
	return out
}
