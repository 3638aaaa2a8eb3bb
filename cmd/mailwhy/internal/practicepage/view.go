package practicepage

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"github.com/emersion/go-message"
)

// The bounds of what is read of a mail: a mail with more is shown as far as that.
const (
	maxParts = 200
	maxDepth = 20
	maxText  = 4 << 20 // of a text that is shown, bytes
)

// part is a part of a mail that is not a multipart.
type part struct {
	N    int // its number in the mail, from 1
	Type string
	Name string // of a file
	CID  string // without angle brackets
	Body []byte // decoded
}

// Size is the size of the body.
func (p *part) Size() int64 { return int64(len(p.Body)) }

// field is a header field as people read it.
type field struct{ Name, Value string }

// view is a mail that was parsed.
type view struct {
	Fields  []field
	HTML    *part // the first of its kind; nil for none
	Text    *part
	Parts   []*part
	Problem string // why it is not shown in full; "" if it is
}

// decoder reads encoded words (RFC 2047).
func decoder() *mime.WordDecoder { return &mime.WordDecoder{CharsetReader: charsetReader} }

// decoded is a field's value with its encoded words decoded, or as it is.
func decoded(value string) string {
	if text, err := decoder().DecodeHeader(value); err == nil {
		return text
	}
	return value
}

// subject is the decoded Subject of a content.
func subject(content []byte) string {
	e, err := message.Read(bytes.NewReader(content))
	if e == nil || err != nil && !readable(err) {
		return ""
	}
	return decoded(e.Header.Get("Subject"))
}

// parse reads a mail. It always returns what could be read.
func parse(content []byte) *view {
	v := &view{}
	e, err := message.ReadWithOptions(bytes.NewReader(content), &message.ReadOptions{MaxHeaderBytes: 1 << 20})
	if e == nil {
		v.Problem = "the header cannot be read: " + err.Error()
		return v
	}
	for fields := e.Header.Fields(); fields.Next(); {
		v.Fields = append(v.Fields, field{fields.Key(), decoded(fields.Value())})
	}
	if err := v.read(e, 0); err != nil {
		v.Problem = "it cannot be read in full: " + err.Error()
	}
	return v
}

// readable reports whether an error of package message leaves an entity that can be read.
func readable(err error) bool { return message.IsUnknownCharset(err) || message.IsUnknownEncoding(err) }

// errTooMany is a mail that is not read to its end.
var errTooMany = errors.New("it has too many parts")

// read reads an entity and those in it.
func (v *view) read(e *message.Entity, depth int) error {
	if depth > maxDepth || len(v.Parts) >= maxParts {
		return errTooMany
	}
	parts := e.MultipartReader()
	if parts == nil {
		return v.add(e)
	}
	for {
		child, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if child == nil || err != nil && !readable(err) {
			return err
		}
		if err := v.read(child, depth+1); err != nil {
			return err
		}
	}
}

// add adds a part.
func (v *view) add(e *message.Entity) error {
	body, err := io.ReadAll(e.Body)
	p := &part{N: len(v.Parts) + 1, Body: body, CID: strings.Trim(e.Header.Get("Content-Id"), "<> ")}
	kind, params, errType := e.Header.ContentType()
	if p.Type = strings.ToLower(kind); errType != nil || p.Type == "" {
		p.Type = "text/plain"
	}
	if text := strings.HasPrefix(p.Type, "text/"); text && params["charset"] != "" {
		p.Body = toUTF8(params["charset"], body)
	}
	disposition, file, _ := e.Header.ContentDisposition()
	if p.Name = decoded(file["filename"]); p.Name == "" {
		p.Name = decoded(params["name"])
	}
	v.Parts = append(v.Parts, p)
	attached := strings.EqualFold(disposition, "attachment")
	switch {
	case attached:
	case p.Type == "text/html" && v.HTML == nil:
		v.HTML = p
	case p.Type == "text/plain" && v.Text == nil:
		v.Text = p
	}
	return err
}

// Files are the parts that are not shown as the mail's text.
func (v *view) Files() (files []*part) {
	for _, p := range v.Parts {
		if p != v.HTML && p != v.Text {
			files = append(files, p)
		}
	}
	return files
}

// Shown is a part as text, as far as it is shown.
func (p *part) Shown() string {
	return strings.ToValidUTF8(string(p.Body[:min(len(p.Body), maxText)]), "\uFFFD")
}

// File is a file name for a download.
func (p *part) File() string {
	if p.Name != "" {
		return p.Name
	}
	return "part-" + strconv.Itoa(p.N)
}

// cid is the address of another part of the mail in HTML (RFC 2392).
var cid = regexp.MustCompile(`(?i)\bcid:([^"'\s>)]+)`)

// inlined is a mail's HTML with the addresses of its parts as the page has them.
func (v *view) inlined(id int) []byte {
	return cid.ReplaceAllFunc(v.HTML.Body, func(found []byte) []byte {
		name := string(found[len("cid:"):])
		for _, p := range v.Parts {
			if p.CID != "" && strings.EqualFold(p.CID, name) && picture(p.Type) {
				return []byte("/mail/" + strconv.Itoa(id) + "/image/" + strconv.Itoa(p.N))
			}
		}
		return found
	})
}

// picture reports whether a type is one of an image that cannot hold a script.
func picture(kind string) bool {
	switch kind {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return true
	}
	return false
}

// header is the header of a content, as it came.
func header(content []byte) string {
	end := bytes.Index(content, []byte("\r\n\r\n"))
	if end < 0 {
		return string(content)
	}
	return textproto.TrimString(string(content[:end]))
}

// Source is the content as text, as far as it is shown.
func (m *mail) Source() string {
	return strings.ToValidUTF8(string(m.Content[:min(len(m.Content), maxText)]), "\uFFFD")
}
