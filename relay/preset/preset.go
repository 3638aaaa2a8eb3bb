// Package preset knows the providers: for each, the host and ports to connect to, the order of AUTH
// mechanisms, the limits, whether the null sender is accepted, and what the credentials look like.
//
// It is data (presets.toml, embedded) and a strict reader of it. The configuration asks for a preset by name,
// or finds one by the host that was configured; `check` compares the credentials with their patterns before
// it connects. Every value can be overridden by the user, so a preset is advice and never a rule.
//
// What always holds: each value carries its source and the date of it, and a value that nobody knows is left
// out. Limits that are left out come from the safe row, which suits any provider and is marked as such. The
// package imports nothing of ours.
package preset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source says how sure a value is.
type Source string

// The sources, the best first.
const (
	Documented Source = "D" // the provider's own document
	Measured   Source = "M" // seen by us
	Reported   Source = "R" // a thread, a transcript or another third party
	SafeRow    Source = "S" // the safe row: nobody says, and this works everywhere
)

// valid reports whether s is one of the sources that a row may give.
func (s Source) valid() bool {
	return slices.Contains([]Source{Documented, Measured, Reported}, s)
}

// Words is the source in words.
func (s Source) Words() string {
	switch s {
	case Documented:
		return "documented by the provider"
	case Measured:
		return "measured"
	case Reported:
		return "reported by others"
	case SafeRow:
		return "a safe value for any provider"
	}
	return "unknown"
}

// Value is a value with where it comes from. Without a Source it is not known.
type Value[T any] struct {
	Value  T      `toml:"value"`
	Source Source `toml:"source"`
	Date   string `toml:"date"` // of the source, 2006-01-02; the file's date when the row gives none
	Ref    string `toml:"ref"`  // a public thread, as owner/repo#number; may be empty
}

// Known reports whether there is a value.
func (v Value[T]) Known() bool { return v.Source != "" }

// Mode is how TLS begins on a port. The words are those of the configuration.
type Mode string

// The modes.
const (
	StartTLS Mode = "starttls"
	Implicit Mode = "implicit"
)

// Port is a port with its TLS mode. In the file it is written "587/starttls".
type Port struct {
	Number int
	Mode   Mode
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Port) UnmarshalText(text []byte) error {
	number, mode, _ := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 65535 || Mode(mode) != StartTLS && Mode(mode) != Implicit {
		return fmt.Errorf("not a valid port: %q, write it as 587/starttls or 465/implicit", text)
	}
	p.Number, p.Mode = n, Mode(mode)
	return nil
}

// Duration is a time span that is written as "5s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// String is the short form: 5s, 15m.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Rate is how many messages the provider takes in a time. In the file it is written "30/1m".
type Rate struct {
	Messages int
	Per      Duration
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	n, per, _ := strings.Cut(string(text), "/")
	var err error
	if r.Messages, err = strconv.Atoi(n); err == nil {
		err = r.Per.UnmarshalText([]byte(per))
	}
	if err != nil || r.Messages < 1 || r.Per <= 0 {
		return fmt.Errorf("not a valid rate: %q, write it as 30/1m", text)
	}
	return nil
}

// String is the rate as the file has it.
func (r Rate) String() string { return strconv.Itoa(r.Messages) + "/" + r.Per.String() }

// NullSender says what a provider does with MAIL FROM:<>.
type NullSender string

// The answers to the null sender.
const (
	Accepted NullSender = "accepted"
	Refused  NullSender = "refused"
)

// Limits are what a provider allows. They are the most that it takes, so a lower setting of the user's stays.
type Limits struct {
	Rate        Value[Rate]     `toml:"rate"`
	Connections Value[int]      `toml:"connections"` // at once
	Recipients  Value[int]      `toml:"recipients"`  // in one transaction
	Messages    Value[int]      `toml:"messages"`    // on one connection
	Idle        Value[Duration] `toml:"idle"`        // how long to keep an unused connection
	Age         Value[Duration] `toml:"age"`         // how long to use a connection at all
	Size        Value[int64]    `toml:"size"`        // of a message in bytes; a smaller SIZE of EHLO wins
}

// Preset is one provider.
type Preset struct {
	Name  string `toml:"name"`  // in the configuration: ses
	Title string `toml:"title"` // for people: Amazon SES

	Hosts      Value[[]string]   `toml:"hosts"` // the usual one first; {region} is a part that the user gives
	Ports      Value[[]Port]     `toml:"ports"` // best first
	Auth       Value[[]string]   `toml:"auth"`  // mechanisms, best first, in upper case; may be unknown
	NullSender Value[NullSender] `toml:"null_sender"`
	Hello      Value[bool]       `toml:"hello"` // a public host name must be set for EHLO
	Limits

	User     Secret `toml:"user"`
	Password Secret `toml:"password"`
	Note     string `toml:"note"` // a limit that depends on the account, in a sentence
}

// PortsFor are the ports of a TLS mode, best first.
func (p *Preset) PortsFor(mode Mode) (numbers []int) {
	for _, port := range p.Ports.Value {
		if port.Mode == mode {
			numbers = append(numbers, port.Number)
		}
	}
	return numbers
}

// Placeholders are the names of the parts of the usual host that the user must give, such as region.
func (p *Preset) Placeholders() (names []string) {
	for _, m := range placeholder.FindAllStringSubmatch(p.Hosts.Value[0], -1) {
		names = append(names, m[1])
	}
	return names
}

// Host is the usual host with its placeholders filled in. It fails if a part is missing.
func (p *Preset) Host(parts map[string]string) (string, error) {
	host := p.Hosts.Value[0]
	for _, name := range p.Placeholders() {
		if parts[name] == "" {
			return "", fmt.Errorf("the host of preset %s is %s: a %s is required", p.Name,
				p.Hosts.Value[0], name)
		}
		host = strings.ReplaceAll(host, "{"+name+"}", parts[name])
	}
	return host, nil
}

// TakesNullSender reports whether MAIL FROM:<> is known to be accepted. Where it is not, bounces need another
// envelope sender.
func (p *Preset) TakesNullSender() bool { return p.NullSender.Value == Accepted }
