package value

import (
	"slices"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "5d": 120 * time.Hour,
		"1d12h": 36 * time.Hour, "0": 0, "0s": 0, "250ms": 250 * time.Millisecond, " 4h ": 4 * time.Hour,
	} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "30", "d", "-5m", "5 parsecs", "1.5d", "99999999999d", "1h1d", "-1d"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", s, got)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"5m": 5 * time.Minute, "4h": 4 * time.Hour, "5d": 120 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0,
		"1m30s": 90 * time.Second, "100ms": 100 * time.Millisecond, "10m": 10 * time.Minute,
		"25h": 25 * time.Hour,
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
		if back, err := ParseDuration(want); err != nil || back != d {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", want, back, err, d)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]Size{
		"25MB": 25e6, "64KiB": 65536, "1GiB": 1 << 30, "12 kb": 12000, "0": 0, "100": 100, "7B": 7, "010": 10,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "MB", "-1MB", "1.5MB", "25 Mo", "99999999999GB"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
	for want, n := range map[string]Size{
		"25MB": 25 * MB, "64KiB": 64 * KiB, "100": 100, "0": 0, "50MB": 50 * MB,
	} {
		if got := n.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseSchedule(t *testing.T) {
	const m, h = time.Minute, time.Hour
	for s, want := range map[string]Schedule{
		"1m, 5m*2, 30m": {m, 5 * m, 5 * m, 30 * m},
		"1h*3":          {h, h, h},
		"1s,5s * 2,30s": {time.Second, 5 * time.Second, 5 * time.Second, 30 * time.Second},
		"1d":            {24 * h},
	} {
		got, err := ParseSchedule(s)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseSchedule(%q) = %v, %v; want %v", s, got, err, want)
		}
		if back, err := ParseSchedule(got.String()); err != nil || !slices.Equal(back, want) {
			t.Errorf("ParseSchedule(%q) = %v, %v; want %v", got.String(), back, err, want)
		}
	}
	for _, s := range []string{
		"", "1m,,2m", "1m*0", "1m*x", "5", "1m*2000", "0s", "31d", "1ms", "1m*-1", "1m*600,1m*600",
	} {
		if got, err := ParseSchedule(s); err == nil {
			t.Errorf("ParseSchedule(%q) = %v, want an error", s, got)
		}
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{
		"5/s": {5, time.Second}, "300/m": {300, time.Minute}, "7200/h": {7200, time.Hour},
		"86400/d": {86400, 24 * time.Hour}, "": {}, "0": {},
	} {
		got, err := ParseRate(s)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", s, got, err, want)
		}
		if s != "0" && got.String() != s {
			t.Errorf("ParseRate(%q) prints as %q", s, got)
		}
	}
	for _, s := range []string{"5", "x/s", "5/y", "-1/s", "0/s", "5/"} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", s, got)
		}
	}
}

func TestParseNetwork(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "::1": "::1/128", "fd00::/8": "fd00::/8",
		"::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:0:0/96": "0.0.0.0/0",
	} {
		if got, err := ParseNetwork(s); err != nil || got.String() != want {
			t.Errorf("ParseNetwork(%q) = %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "10.0.0.1/8", "10.0.0.0/33", "example.com", "fe80::1%eth0"} {
		if got, err := ParseNetwork(s); err == nil {
			t.Errorf("ParseNetwork(%q) = %v, want an error", s, got)
		}
	}
}
