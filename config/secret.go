package config

import "log/slog"

// Secret is a password or key. However it is printed, marshalled or logged, it shows only whether it is
// set; only Reveal returns it. The value is behind a pointer, so that printing a struct with a Secret in an
// unexported field shows an address. The zero Secret is unset.
type Secret struct{ value *string }

// redacted is what a set Secret looks like.
const redacted = "(secret)"

// NewSecret wraps s; the empty string gives an unset Secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{value: &s}
}

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether s is unset.
func (s Secret) IsZero() bool { return s.value == nil }

// String implements fmt.Stringer without revealing the secret.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return redacted
}

// GoString is String for %#v.
func (s Secret) GoString() string { return `config.Secret{` + s.String() + `}` }

// MarshalText is String for JSON, TOML and other encodings as text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
