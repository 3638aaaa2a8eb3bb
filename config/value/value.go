// Package value has the types that settings are written in: sizes, durations, rates, schedules, dates, file
// modes, networks and secrets. Each reads its text, and gives it back.
package value

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/config/mistake"
)

// Size is a number of bytes, written "25MB" or "64KiB".
type Size int64

// The units of a Size. kB, MB and GB are powers of 1000, KiB, MiB and GiB of 1024.
const (
	KB  Size = 1000
	MB       = 1000 * KB
	GB       = 1000 * MB
	KiB Size = 1024
	MiB      = 1024 * KiB
	GiB      = 1024 * MiB
)

// sizeUnits are the suffixes of a Size, larger before smaller.
func sizeUnits() []struct {
	name string
	n    Size
} {
	return []struct {
		name string
		n    Size
	}{{"GiB", GiB}, {"GB", GB}, {"MiB", MiB}, {"MB", MB}, {"KiB", KiB}, {"kB", KB}}
}

// ParseSize reads a number of bytes with an optional unit; capitals do not matter.
func ParseSize(s string) (Size, error) {
	bad := mistake.Bad(fmt.Sprintf("%q is not a size", s), `write "25MB", "64KiB", or a number of bytes`)
	num, unit := strings.TrimSpace(s), Size(1)
	for _, u := range append(sizeUnits(), struct {
		name string
		n    Size
	}{"B", 1}) {
		if n := len(num) - len(u.name); n > 0 && strings.EqualFold(num[n:], u.name) {
			num, unit = strings.TrimSpace(num[:n]), u.n
			break
		}
	}
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, bad
	}
	return Size(n) * unit, nil
}

// String writes s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && s%u.n == 0 {
			return strconv.FormatInt(int64(s/u.n), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseDuration reads what time.ParseDuration does, and days: "5d", "1d12h". It refuses negative durations
// and numbers without a unit.
func ParseDuration(s string) (time.Duration, error) {
	bad := mistake.Bad(fmt.Sprintf("%q is not a duration", s),
		`write a number with its unit, as in "30s", "5m", "4h" or "5d"`)
	rest, days := strings.TrimSpace(s), int64(0)
	if n, after, ok := strings.Cut(rest, "d"); ok {
		var err error
		if days, err = strconv.ParseInt(n, 10, 32); err != nil || days > 36500 {
			return 0, bad
		}
		rest = after
	}
	d := time.Duration(days) * 24 * time.Hour
	if rest != "" || d == 0 {
		part, err := time.ParseDuration(rest)
		if err != nil {
			return 0, bad
		}
		d += part
	}
	if d < 0 {
		return 0, mistake.Bad(fmt.Sprintf("%q is negative", s), "")
	}
	return d, nil
}

// FormatDuration writes d as ParseDuration reads it, without empty units.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Schedule is the delay after the first, second ... attempt; the last one repeats.
type Schedule []time.Duration

// maxSteps bounds a Schedule.
const maxSteps = 1000

// ParseSchedule reads a comma-separated list of delays, each with an optional repetition: "1m, 5m*2, 30m,
// 1h*6, 4h".
func ParseSchedule(s string) (Schedule, error) {
	const hint = `write "1m, 5m*2, 30m, 1h*6, 4h": delays in order, *N repeats one, ` +
		`the last goes on until retry.expire_after`
	var out Schedule
	var wrong []string // all that is, so that it is mended at once
	for step := range strings.SplitSeq(s, ",") {
		text, times, repeated := strings.Cut(strings.TrimSpace(step), "*")
		n := 1
		if repeated {
			var err error
			if n, err = strconv.Atoi(strings.TrimSpace(times)); err != nil || n < 1 || n > maxSteps {
				wrong = append(wrong, fmt.Sprintf("%q is not a repetition", strings.TrimSpace(step)))
				n = 1
			}
		}
		switch d, err := ParseDuration(text); {
		case err != nil:
			wrong = append(wrong, err.Error())
		case d < 100*time.Millisecond || d > 30*24*time.Hour:
			wrong = append(wrong, fmt.Sprintf("%q is not between 100ms and 30d", strings.TrimSpace(text)))
		default:
			out = append(out, slices.Repeat([]time.Duration{d}, n)...)
		}
	}
	if len(wrong) > 0 {
		return nil, mistake.Bad(strings.Join(wrong, ", "), hint)
	}
	if len(out) > maxSteps {
		return nil, mistake.Bad(fmt.Sprintf("has %d steps", len(out)),
			fmt.Sprintf("at most %d are useful", maxSteps))
	}
	return out, nil
}

// String writes s as ParseSchedule reads it.
func (s Schedule) String() string {
	var parts []string
	for i := 0; i < len(s); {
		n := 1
		for i+n < len(s) && s[i+n] == s[i] {
			n++
		}
		part := FormatDuration(s[i])
		if n > 1 {
			part += "*" + strconv.Itoa(n)
		}
		parts = append(parts, part)
		i += n
	}
	return strings.Join(parts, ", ")
}

// Rate is an upper bound on messages over time; the zero Rate means no bound.
type Rate struct {
	Messages int
	Per      time.Duration
}

// ParseRate reads "5/s", "300/m", "1000/h", "50000/d", and "" or "0" for no limit.
func ParseRate(s string) (Rate, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "0" {
		return Rate{}, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour,
		"d": 24 * time.Hour}[strings.TrimSpace(unit)]
	if err != nil || n < 1 || per == 0 {
		return Rate{}, mistake.Bad(fmt.Sprintf("%q is not a rate", s),
			`write "5/s", "300/m", "1000/h" or "50000/d"`)
	}
	return Rate{n, per}, nil
}

// String writes r as ParseRate reads it.
func (r Rate) String() string {
	if r.Per == 0 {
		return ""
	}
	unit := "s"
	switch r.Per {
	case time.Minute:
		unit = "m"
	case time.Hour:
		unit = "h"
	case 24 * time.Hour:
		unit = "d"
	}
	return strconv.Itoa(r.Messages) + "/" + unit
}

// FileMode is the permission bits of a file, written in octal: "0660".
type FileMode uint32

// ParseFileMode reads three or four octal digits.
func ParseFileMode(s string) (FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 || len(s) < 3 {
		return 0, mistake.Bad(fmt.Sprintf("%q is not a file mode", s),
			`write octal digits in quotes, as in "0660"`)
	}
	return FileMode(n), nil
}

// String writes m as ParseFileMode reads it.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Date is a day, written "2027-01-31"; the zero Date is none.
type Date struct{ day time.Time }

// ParseDate reads a day, and "" for none.
func ParseDate(s string) (Date, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Date{}, nil
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, mistake.Bad(fmt.Sprintf("%q is not a date", s),
			`write year, month and day: "2027-01-31"`)
	}
	return Date{day}, nil
}

// Time is the beginning of the day in UTC; zero when there is none.
func (d Date) Time() time.Time { return d.day }

// IsZero reports whether there is no date.
func (d Date) IsZero() bool { return d.day.IsZero() }

// String writes d as ParseDate reads it.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.day.Format(time.DateOnly)
}

// ParseNetwork reads a network in CIDR notation or a single address. An IPv4-mapped IPv6 network becomes
// IPv4.
func ParseNetwork(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	bad := mistake.Bad(fmt.Sprintf("%q is not a network", s),
		`write "10.0.0.0/8", "fd00::/8" or a single address`)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), max(0, p.Bits()-96))
	}
	if p.Masked() != p {
		return netip.Prefix{},
			mistake.Bad(fmt.Sprintf("%q has bits outside its mask", s), fmt.Sprintf("write %q", p.Masked()))
	}
	return p, nil
}

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
func (s Secret) GoString() string { return `value.Secret{` + s.String() + `}` }

// MarshalText is String for JSON, TOML and other encodings as text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
