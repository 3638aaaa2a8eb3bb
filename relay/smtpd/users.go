package smtpd

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Users are the names and password hashes for AUTH. They never change; a reload reads new ones. They are
// safe for concurrent use.
type Users struct {
	byName map[string]user
	decoy  string   // hash checked for unknown names, so that they take as long
	key    [32]byte // for proven

	mu     sync.Mutex
	proven map[[32]byte]struct{} // correct passwords, so that not every connection costs a hash
}

type user struct {
	hash    string
	senders []string
}

// maxProven bounds Users.proven.
const maxProven = 1024

// ParseUsers reads a users file: a line per user, NAME:HASH or NAME:HASH:SENDERS, where HASH is in the
// usual text form of bcrypt or argon2id and SENDERS are comma-separated patterns (see Access). Empty lines
// and lines that begin with # are ignored. All mistakes are reported at once, with line numbers; hashes are
// never shown.
func ParseUsers(r io.Reader) (*Users, error) {
	u := &Users{byName: map[string]user{}, proven: map[[32]byte]struct{}{}}
	rand.Read(u.key[:])
	var errs []error
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := u.add(line); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
	}
	errs = append(errs, lines.Err())
	return u, errors.Join(errs...)
}

// add reads one line of a users file.
func (u *Users) add(line string) error {
	name, rest, _ := strings.Cut(line, ":")
	hash, list, _ := strings.Cut(rest, ":")
	if name == "" || strings.ContainsAny(name, " \t") {
		return errors.New("a line must be NAME:HASH or NAME:HASH:SENDERS")
	}
	if _, twice := u.byName[name]; twice {
		return fmt.Errorf("user %q is listed twice", name)
	}
	if err := checkHash(hash); err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	var senders []string
	for p := range strings.SplitSeq(list, ",") {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		if err := CheckPattern(p); err != nil {
			return fmt.Errorf("user %q: %w", name, err)
		}
		senders = append(senders, p)
	}
	u.byName[name] = user{hash: hash, senders: senders}
	if u.decoy == "" {
		u.decoy = hash
	}
	return nil
}

// Names are the names of the users, in order.
func (u *Users) Names() []string { return slices.Sorted(maps.Keys(u.byName)) }

// Len is the number of users.
func (u *Users) Len() int { return len(u.byName) }

// verify reports whether password is that of name. It is slow: authGate decides who may call it.
func (u *Users) verify(name, password string) bool {
	if u.isProven(name, password) {
		return true // another connection proved it while this one waited
	}
	who, known := u.byName[name]
	hash := who.hash
	if !known {
		hash = u.decoy
	}
	if !verifyHash(hash, password) || !known {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.proven) >= maxProven {
		clear(u.proven)
	}
	u.proven[u.mark(name, password)] = struct{}{}
	return true
}

// isProven reports whether password was verified for name before, which is cheap to check.
func (u *Users) isProven(name, password string) bool {
	mark := u.mark(name, password)
	u.mu.Lock()
	defer u.mu.Unlock()
	_, proven := u.proven[mark]
	return proven
}

// mark is what is kept of a correct password. It is useless without the key, which never leaves this process.
func (u *Users) mark(name, password string) (sum [32]byte) {
	mac := hmac.New(sha256.New, u.key[:])
	fmt.Fprintf(mac, "%d:%s:%s", len(name), name, password)
	mac.Sum(sum[:0])
	return sum
}

// The bounds of accepted hashes: an argon2id hash takes its memory, in KiB, at each check.
const (
	argonMaxTime, argonMaxMemory = 16, 64 << 10
	bcryptMaxCost                = 15
)

// argonHash is a parsed argon2id hash.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// parseArgon reads the PHC string of an argon2id hash.
func parseArgon(s string) (h argonHash, err error) {
	fields := strings.Split(s, "$")
	var version int
	if len(fields) != 6 {
		return h, errors.New("malformed argon2id hash")
	}
	_, err1 := fmt.Sscanf(fields[2], "v=%d", &version)
	_, err2 := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads)
	h.salt, err = base64.RawStdEncoding.DecodeString(fields[4])
	var err3 error
	h.key, err3 = base64.RawStdEncoding.DecodeString(fields[5])
	if errors.Join(err1, err2, err, err3) != nil || version != argon2.Version || len(h.salt) < 8 ||
		len(h.key) < 16 {
		return h, errors.New("malformed argon2id hash")
	}
	if h.time < 1 || h.time > argonMaxTime || h.memory < 8 || h.memory > argonMaxMemory || h.threads < 1 {
		return h, fmt.Errorf("argon2id parameters out of bounds: t is at most %d, m at most %d",
			argonMaxTime, argonMaxMemory)
	}
	return h, nil
}

// checkHash returns an error for a hash that verifyHash cannot use.
func checkHash(s string) error {
	if strings.HasPrefix(s, "$argon2id$") {
		_, err := parseArgon(s)
		return err
	}
	cost, err := bcrypt.Cost([]byte(s))
	switch {
	case err != nil:
		return errors.New("the hash is neither bcrypt nor argon2id; make one with mailwhy hash-password")
	case cost > bcryptMaxCost:
		return fmt.Errorf("bcrypt cost is over %d", bcryptMaxCost)
	}
	return nil
}

// verifyHash checks a password against a hash that checkHash accepted.
func verifyHash(hash, password string) bool {
	if !strings.HasPrefix(hash, "$argon2id$") {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	h, err := parseArgon(hash)
	if err != nil {
		return false
	}
	got := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(got, h.key) == 1
}
