package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"golang.org/x/net/publicsuffix"

	"mailwhy/relay/internal/address"
)

// Key is a key as it is configured. All fields are required.
type Key struct {
	Domain   string   // d=
	Selector string   // s=
	File     string   // PEM: PKCS #1 or PKCS #8, RSA of 2048 bits at least, or Ed25519
	Headers  []string // that are signed; From is among them
	Oversign []string // those of them that are signed once more than they are there
}

// Options are what a Signer is made of.
type Options struct {
	Keys []Key // several of a domain sign all of its mail, each
	Now  func() time.Time
	Log  *slog.Logger // hears of key files that changed and cannot be read
}

// New makes a Signer, and reads every key. It is nil, which signs nothing, when there are no keys.
func New(o Options) (*Signer, error) {
	if len(o.Keys) == 0 {
		return nil, nil
	}
	s := &Signer{keys: map[string][]*key{}}
	s.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	var errs []error
	for _, c := range o.Keys {
		c.Domain = plainDomain(c.Domain)
		k := &key{Key: c, now: o.Now, log: o.Log}
		k.version = k.fileVersion()
		if err := k.read(); err != nil {
			errs = append(errs, fmt.Errorf("dkim key of %s, selector %s: %w", c.Domain, c.Selector, err))
		}
		s.keys[c.Domain] = append(s.keys[c.Domain], k)
	}
	return s, errors.Join(errs...)
}

// keysFor are the keys of a domain, or else those of its organizational domain.
func (s *Signer) keysFor(domain string) []*key {
	domain = plainDomain(domain)
	if keys := s.keys[domain]; keys != nil || domain == "" {
		return keys
	}
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return nil
	}
	return s.keys[org]
}

// plainDomain is a domain in small letters, and in A-labels where it can be: as d= has it (RFC 6376, 3.5).
func plainDomain(domain string) string {
	if plain, err := address.ToASCII(domain); err == nil {
		domain = plain
	}
	return strings.ToLower(domain)
}

// key is a Key with what its file holds.
type key struct {
	Key
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex
	signer  crypto.Signer
	version string    // of the file that signer was read from
	looked  time.Time // when the file was last looked at
}

// lookEvery bounds how often the file of a key is looked at.
const lookEvery = time.Second

// options are those of a signature of a message with this header.
func (k *key) options(header []byte) *dkim.SignOptions {
	return &dkim.SignOptions{
		Domain: k.Domain, Selector: k.Selector, Signer: k.current(),
		HeaderKeys:             signedFields(header, k.Headers, k.Oversign),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
	}
}

// current is the key in force. A file that changed is read again; one that cannot be read leaves the old key
// in force.
func (k *key) current() crypto.Signer {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if now.Sub(k.looked) < lookEvery {
		return k.signer
	}
	k.looked = now
	version := k.fileVersion()
	if version == k.version {
		return k.signer
	}
	if err := k.read(); err != nil {
		k.log.Error("the new DKIM key cannot be used: the old one stays in force", "domain", k.Domain,
			"selector", k.Selector, "err", err)
		return k.signer
	}
	k.version = version
	k.log.Info("DKIM key read again", "domain", k.Domain, "selector", k.Selector, "file", k.File)
	return k.signer
}

// read takes the key from its file.
func (k *key) read() error {
	b, err := os.ReadFile(k.File)
	if err != nil {
		return err
	}
	signer, err := ParseKey(b)
	if err != nil {
		return fmt.Errorf("%s: %w", k.File, err)
	}
	k.signer = signer
	return nil
}

// fileVersion changes when the file does.
func (k *key) fileVersion() string {
	info, err := os.Stat(k.File)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size())
}

// MinBits is the shortest RSA key that signs (RFC 8301, 3.2: signers should use 2048 bits at least).
const MinBits = 2048

// ParseKey reads a private key in PEM: PKCS #8, or PKCS #1 for RSA. The error holds nothing of the key.
func ParseKey(b []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("it is not PEM: it begins with -----BEGIN PRIVATE KEY-----, as " +
			"`mailwhy dkim keygen` writes it")
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it holds a %s; a private key without a passphrase is wanted", block.Type)
	}
	if err != nil {
		return nil, errors.New("its private key cannot be read: " + err.Error())
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < MinBits {
			return nil, fmt.Errorf("its RSA key has %d bits; at least %d are wanted (RFC 8301)", bits,
				MinBits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("it holds a key of another kind (%T); DKIM signs with RSA or Ed25519", parsed)
}
