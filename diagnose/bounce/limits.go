package bounce

import "slices"

// The bounds of what is read of one file, far beyond any honest bounce. What lies beyond one is passed over,
// and the Report names the bound.
const (
	MaxSize       = 64 << 20 // of a file, bytes
	MaxDepth      = 8        // of parts in parts (RFC 2046, 5.1)
	MaxParts      = 200      // of a file
	MaxFields     = 1000     // of a header, or of a block of a delivery status
	MaxFieldSize  = 64 << 10 // of the value of a field, bytes
	MaxRecipients = 10_000   // of a file
)

// Bounds of what is looked at or kept of longer texts. They are part of how a bounce is read, and not
// reported.
const (
	maxProse    = 64 << 10 // of what a report says to a person, bytes
	maxMarkup   = 4 * maxProse
	maxWording  = 4 << 10 // of the words about one recipient, bytes
	maxOriginal = 1 << 20 // of the header of the message that came back, bytes
	maxName     = 998     // of a name or an identifier: a line of RFC 5322, 2.1.1, bytes
	maxDomain   = 255     // RFC 1035, 2.3.4, bytes
	maxDKIM     = 32      // signatures of the message that came back
	maxKeys     = 100     // of a kind
	maxKey      = 2 << 10 // of a field that a key stands in, bytes

	maxIntroduction = 200 // of a line that introduces the message that came back, bytes
	maxLocal        = 320 // of a local part, bytes; a rewritten return path is longer than RFC 5321 allows
	maxInLine       = 20  // addresses of a line
	maxFieldName    = 64  // of a field in a text, bytes
)

// Limit is a bound of this package that a file went beyond.
type Limit string

// The limits, each by the name of its constant.
const (
	LimitSize       Limit = "size"       // MaxSize
	LimitDepth      Limit = "depth"      // MaxDepth
	LimitParts      Limit = "parts"      // MaxParts
	LimitFields     Limit = "fields"     // MaxFields
	LimitFieldSize  Limit = "field_size" // MaxFieldSize
	LimitRecipients Limit = "recipients" // MaxRecipients
)

// beyond notes that the file goes beyond a limit.
func (d *document) beyond(l Limit) {
	if !slices.Contains(d.limits, l) {
		d.limits = append(d.limits, l)
	}
}
