package dsn

import "mailwhy/diagnose"

// Annotation is what a diagnosis adds to the recipient block of a delivery status, ours or a foreign one:
// X-Mailwhy fields in ASCII, folded, each ending in CRLF.
func Annotation(d *diagnose.Diagnosis) []byte {
	h := &header{}
	statusFields{}.extensions(h, d)
	return h.text
}
