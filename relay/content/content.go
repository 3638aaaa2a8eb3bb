// Package content mends the header of a message as applications send it: cron, printers, old libraries. The
// front door reads each content through a Mender, behind its own Received field and before it looks at the
// header; so it is a room of its own, which knows nothing of SMTP, and what is stored is what leaves.
//
// What it does, each in a file: it ends a header that has no end, and renames the From line of an mbox
// (reader.go); it removes fields that must not leave, and completes the header (field.go); it completes and
// quotes addresses (address.go). docs/content.md shows it, and says where Postfix, the model, does otherwise.
//
// What always holds:
//
//   - Memory is bounded, whatever the size of the header. The body passes unchanged; nothing of it becomes
//     a header field.
//   - A field that a DKIM signature covers (RFC 6376, 3.5, h=) is neither changed, but for what the signature
//     does not cover (3.4.2), nor removed, nor added where the signature covers that it is not there.
//     Signatures are looked for in the first MaxHeader bytes.
//   - No field is added that is there already (RFC 5322, 3.6).
//   - What was done is in Message.Changed, and in Message.Unsuppressed what the header asks for.
package content

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"mailwhy/relay"
)

// MaxHeader is how much of a header is held in memory, bytes. A field longer than that passes unchanged, or
// is removed whole.
const MaxHeader = 64 << 10

// Options are what a Mender needs. Hostname and Log are required.
type Options struct {
	Hostname string // of the Message-IDs that are added
	// Domain completes addresses without one, of known clients. Empty: they stay as they are.
	Domain string
	Drop   []string // names of the fields that are removed; capitals do not matter
	// Complete adds Message-ID and Date where they are missing or empty (RFC 6409, 8.3), and From for known
	// clients.
	Complete bool
	// MaxHeader is how long a header may be when it is mended, bytes; reading a longer one ends with
	// relay.ErrHeaderTooLong. 0: any length.
	MaxHeader int
	Log       *slog.Logger // hears of fields that could not be removed
}

// Mender mends contents. It is safe for concurrent use.
type Mender struct {
	options Options
	buffers sync.Pool // of *buffer
}

// New makes a Mender.
func New(o Options) *Mender {
	drop := make([]string, len(o.Drop))
	for i, name := range o.Drop {
		drop[i] = strings.ToLower(name)
	}
	o.Drop = drop
	return &Mender{options: o, buffers: sync.Pool{New: func() any { return new(buffer) }}}
}

// Mend returns the content of m with its header mended. known says that the client is one of the
// configuration's, so that the header may be completed in its name. m.Changed is complete when the reader
// has returned io.EOF; its other errors are those of content, and relay.ErrHeaderTooLong.
func (d *Mender) Mend(m *relay.Message, known bool, content io.Reader) io.Reader {
	return &reader{mender: d, m: m, known: known, src: content, first: true}
}

// note adds to a message's changes, each once.
func note(m *relay.Message, change string) {
	if !slices.Contains(m.Changed, change) {
		m.Changed = append(m.Changed, change)
	}
}
