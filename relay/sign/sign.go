// Package sign adds DKIM signatures (RFC 6376, RFC 8463) to mail on its way out. relay/app hands it each
// transaction at the attempt, after everything else that changes a content: so reports of our own are signed
// like any mail, and no mail waits in the spool with the signature of a key that was replaced since.
//
// What happens to a transaction: the keys are those of the domain in the From field, or else of its
// organizational domain (so that d= aligns with From, RFC 9989). The content is read once to be signed and
// once to be sent; the signatures are the first fields of what the upstream reads. Mail of other domains
// passes as it is.
//
// What always holds: the header is held in memory up to MaxHeader bytes, the body never is. Mail that should
// be signed and cannot be does not leave: its content then has an error, so it waits and the operator reads
// why. Signatures that are there already are left alone, and stay valid, since only fields in front of them
// are added.
//
// keys.go has the keys and reads their files again when they change; fields.go says what of a header is
// signed. The signatures themselves are go-msgauth's.
package sign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/emersion/go-msgauth/dkim"

	"mailwhy/relay"
)

// Signer signs the mail of its domains. It is safe for concurrent use.
type Signer struct {
	keys    map[string][]*key // by domain, in lower case
	buffers sync.Pool         // of *[]byte, of bufferSize bytes
}

// bufferSize is how much of a content is read at once.
const bufferSize = 32 << 10

// Prepare makes t's content a signed one, if there are keys for the domain of its From field. The signatures
// are made once, when the content is first opened. A nil Signer signs nothing.
func (s *Signer) Prepare(t *relay.Transaction) {
	if s == nil {
		return
	}
	keys := s.keysFor(t.FromDomain())
	if len(keys) == 0 {
		return
	}
	open := t.Open
	var signatures string
	t.Open = func() (io.ReadCloser, error) {
		if signatures == "" {
			var err error
			if signatures, err = s.sign(keys, open); err != nil {
				return nil, fmt.Errorf("dkim: %w", err)
			}
			t.Note("dkim signed")
		}
		content, err := open()
		if err != nil {
			return nil, err
		}
		return &signed{strings.NewReader(signatures), content}, nil
	}
}

// signed is a content behind its signatures.
type signed struct {
	signatures *strings.Reader
	io.ReadCloser
}

// Read implements io.Reader.
func (s *signed) Read(p []byte) (int, error) {
	if s.signatures.Len() > 0 {
		return s.signatures.Read(p)
	}
	return s.ReadCloser.Read(p)
}

// sign returns the signatures of a content, one for each key.
func (s *Signer) sign(keys []*key, open func() (io.ReadCloser, error)) (string, error) {
	content, err := open()
	if err != nil {
		return "", err
	}
	defer content.Close()
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	header, rest, err := splitHeader(content, (*buf)[:0])
	if err != nil {
		return "", err
	}
	var signers []*dkim.Signer
	defer func() {
		for _, s := range signers {
			s.Close() // a second Close does nothing
		}
	}()
	var all []io.Writer
	for _, k := range keys {
		s, err := dkim.NewSigner(k.options(header))
		if err != nil {
			return "", err
		}
		signers, all = append(signers, s), append(all, s)
	}
	if err := write(io.MultiWriter(all...), header, rest, content, *buf); err != nil {
		return "", err
	}
	var signatures strings.Builder
	for _, s := range signers {
		if err := s.Close(); err != nil {
			return "", err
		}
		signatures.WriteString(s.Signature())
	}
	return signatures.String(), nil
}

// write writes a content of which header and rest were read. buf may hold both, and is used for what follows.
func write(out io.Writer, header, rest []byte, content io.Reader, buf []byte) error {
	parts := [][]byte{header, rest}
	if !bytes.HasSuffix(header, emptyLine()) {
		parts[1] = []byte("\r\n") // mail without a body is signed as if its body were empty
	}
	for _, part := range parts {
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	// hidden, or CopyBuffer prefers methods that have buffers of their own
	_, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{content}, buf)
	return err
}

func emptyLine() []byte { return []byte("\r\n\r\n") }

// MaxHeader is how large a header may be that is signed, bytes.
const MaxHeader = 1 << 20

// errHeader is why mail with an endless header does not leave unsigned.
var errHeader = errors.New("the header has more than 1 MiB: it cannot be signed")

// splitHeader reads from a content into buf, or a larger one, until its header has ended. The header ends
// with its empty line, if there is one; rest is what was read behind it.
func splitHeader(content io.Reader, buf []byte) (header, rest []byte, err error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 4*cap(buf)), buf...)
		}
		from := len(buf)
		n, err := content.Read(buf[from:cap(buf)])
		buf = buf[:from+n]
		if i := bytes.Index(buf[max(0, from-3):], emptyLine()); i >= 0 {
			end := max(0, from-3) + i + len(emptyLine())
			return buf[:end], buf[end:], nil
		}
		switch {
		case err == io.EOF:
			return buf, nil, nil
		case err != nil:
			return nil, nil, err
		case len(buf) > MaxHeader:
			return nil, nil, errHeader
		}
	}
}
