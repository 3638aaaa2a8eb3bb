package relay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idLen is the length of a queue id in characters: 15 bytes in base 32.
const idLen = 24

// crockford is base 32 without letters that are easily misread, in ASCII order, so that ids sort by time.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewID makes a queue id: six bytes of milliseconds since 1970, so that ids sort by age, and nine random
// ones.
func NewID(now time.Time) string {
	var b [15]byte
	putMillis(b[:], now)
	rand.Read(b[6:]) // never fails, see crypto/rand
	return crockford.EncodeToString(b[:])
}

// DerivedID makes the id of a message that others cause. The same parts and time always give the same id, so
// that such a message is stored only once.
func DerivedID(at time.Time, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	var b [15]byte
	putMillis(b[:], at)
	copy(b[6:], h.Sum(nil))
	return crockford.EncodeToString(b[:])
}

// ValidID reports whether s has the form of a queue id; such an id is safe as a file name.
func ValidID(s string) bool {
	if len(s) != idLen {
		return false
	}
	_, err := crockford.DecodeString(s)
	return err == nil
}

// putMillis writes the low six bytes of the time in milliseconds.
func putMillis(b []byte, t time.Time) {
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (8 * (5 - i)))
	}
}
