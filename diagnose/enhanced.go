package diagnose

import "strconv"

// Enhanced is an enhanced mail system status code (RFC 3463, 2). Details of three digits are in use (5.7.705).
type Enhanced struct{ Class, Subject, Detail int }

// IsZero reports whether e is absent.
func (e Enhanced) IsZero() bool { return e == Enhanced{} }

// String writes e as "5.1.1", or "" when it is absent.
func (e Enhanced) String() string {
	if e.IsZero() {
		return ""
	}
	return strconv.Itoa(e.Class) + "." + strconv.Itoa(e.Subject) + "." + strconv.Itoa(e.Detail)
}
