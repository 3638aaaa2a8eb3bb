package preset

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

//go:embed presets.toml
var presets string

// Set is all presets.
type Set struct {
	All  []*Preset // in the order of the file
	Safe Limits    // for a provider that has no preset; it refuses the null sender
}

// file is presets.toml.
type file struct {
	Date   string    `toml:"date"` // of every source that gives none
	Safe   Limits    `toml:"safe"`
	Preset []*Preset `toml:"preset"`
}

// Load reads the presets of this binary.
func Load() (*Set, error) { return parse([]byte(presets)) }

// parse reads a file of presets. It refuses unknown keys and values that cannot be right, and names all that
// is wrong at once.
func parse(text []byte) (*Set, error) {
	var f file
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, errors.New(strict.String())
		}
		return nil, err
	}
	if err := errors.Join(f.checkSafe(), f.checkNames()); err != nil {
		return nil, err
	}
	s := &Set{All: f.Preset, Safe: f.Safe}
	var errs []error
	for _, p := range f.Preset {
		err := p.dated(f.Date)
		p.fill(&f.Safe)
		if !p.NullSender.Known() {
			p.NullSender = Value[NullSender]{Value: Refused, Source: SafeRow, Date: f.Date}
		}
		err = errors.Join(err, p.check(), p.User.compile(), p.Password.compile())
		if err != nil {
			errs = append(errs, fmt.Errorf("preset %s: %w", p.Name, err))
		}
	}
	return s, errors.Join(errs...)
}

// checkSafe marks the safe row as what it is and reports what it lacks.
func (f *file) checkSafe() error {
	s := &f.Safe
	s.Connections.Source, s.Recipients.Source, s.Messages.Source, s.Idle.Source =
		SafeRow, SafeRow, SafeRow, SafeRow
	s.Connections.Date, s.Recipients.Date, s.Messages.Date, s.Idle.Date = f.Date, f.Date, f.Date, f.Date
	if s.Connections.Value < 1 || s.Recipients.Value < 1 || s.Messages.Value < 1 || s.Idle.Value <= 0 {
		return errors.New("the safe row needs connections, recipients, messages and idle")
	}
	return nil
}

// checkNames reports names that are missing, wrong or used twice, for presets and for their hosts.
func (f *file) checkNames() (err error) {
	seen := map[string]string{}
	for _, p := range f.Preset {
		for _, name := range append([]string{p.Name}, p.Hosts.Value...) {
			if other, twice := seen[name]; twice {
				err = errors.Join(err, fmt.Errorf("%q is in the rows %s and %s", name, other, p.Name))
			}
			seen[name] = p.Name
		}
		if !presetName.MatchString(p.Name) || p.Title == "" {
			err = errors.Join(err, fmt.Errorf(
				"a preset needs a name such as gmail-relay, and a title: %q, %q", p.Name, p.Title))
		}
	}
	return err
}

var (
	presetName  = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	placeholder = regexp.MustCompile(`\{([a-z]+)\}`)
	hostName    = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

// check reports what cannot be right in a row.
func (p *Preset) check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(len(p.Hosts.Value) == 0, "hosts is required")
	for _, h := range p.Hosts.Value {
		wrong(!hostName.MatchString(placeholder.ReplaceAllString(h, "x")), "not a valid host name: %q", h)
	}
	wrong(len(p.Ports.Value) == 0, "ports is required")
	seen := map[int]bool{}
	for _, port := range p.Ports.Value {
		wrong(seen[port.Number], "port %d is listed twice", port.Number)
		seen[port.Number] = true
	}
	for _, m := range p.Auth.Value {
		wrong(m != strings.ToUpper(m), "not a valid mechanism: %q, write it in upper case", m)
	}
	n := p.NullSender
	wrong(n.Known() && n.Value != Accepted && n.Value != Refused,
		"null_sender is accepted, refused or left out: %q", n.Value)
	for name, value := range map[string]Value[int]{"connections": p.Connections, "recipients": p.Recipients,
		"messages": p.Messages} {
		wrong(value.Known() && value.Value < 1, "%s is less than 1", name)
	}
	wrong(p.Idle.Known() && p.Idle.Value <= 0, "idle is not positive")
	wrong(p.Age.Known() && p.Age.Value <= p.Idle.Value, "age is not more than idle")
	wrong(p.Size.Known() && p.Size.Value < 1<<20, "size is less than 1 MiB")
	return errors.Join(errs...)
}

// dated gives every value without a date that of the file, and reports sources and dates that are not valid.
func (p *Preset) dated(day string) error {
	d := dates{day: day}
	for _, s := range []struct {
		name   string
		source *Source
		date   *string
		set    bool
	}{
		{"hosts", &p.Hosts.Source, &p.Hosts.Date, len(p.Hosts.Value) > 0},
		{"ports", &p.Ports.Source, &p.Ports.Date, len(p.Ports.Value) > 0},
		{"auth", &p.Auth.Source, &p.Auth.Date, len(p.Auth.Value) > 0},
		{"null_sender", &p.NullSender.Source, &p.NullSender.Date, p.NullSender.Value != ""},
		{"hello", &p.Hello.Source, &p.Hello.Date, p.Hello.Value},
		{"rate", &p.Rate.Source, &p.Rate.Date, p.Rate.Value.Messages > 0},
		{"connections", &p.Connections.Source, &p.Connections.Date, p.Connections.Value != 0},
		{"recipients", &p.Recipients.Source, &p.Recipients.Date, p.Recipients.Value != 0},
		{"messages", &p.Messages.Source, &p.Messages.Date, p.Messages.Value != 0},
		{"idle", &p.Idle.Source, &p.Idle.Date, p.Idle.Value != 0},
		{"age", &p.Age.Source, &p.Age.Date, p.Age.Value != 0},
		{"size", &p.Size.Source, &p.Size.Date, p.Size.Value != 0},
		{"user", &p.User.Source, &p.User.Date, p.User.Says != ""},
		{"password", &p.Password.Source, &p.Password.Date, p.Password.Says != ""},
	} {
		d.one(s.name, s.source, s.date, s.set)
	}
	return errors.Join(d.errs...)
}

// dates collects what is wrong with sources and dates.
type dates struct {
	day  string
	errs []error
}

func (d *dates) one(name string, source *Source, date *string, set bool) {
	switch {
	case !set && *source == "" && *date == "":
		return
	case !set:
		d.errs = append(d.errs, fmt.Errorf("%s has a source, but no value", name))
	case !source.valid():
		d.errs = append(d.errs, fmt.Errorf("%s: not a valid source: %q", name, string(*source)))
	}
	if *date == "" {
		*date = d.day
	}
	if _, err := time.Parse(time.DateOnly, *date); err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: not a valid date: %q", name, *date))
	}
}

// fill takes what nobody knows from the safe row.
func (l *Limits) fill(safe *Limits) {
	for _, v := range []struct{ to, from *Value[int] }{{&l.Connections, &safe.Connections},
		{&l.Recipients, &safe.Recipients}, {&l.Messages, &safe.Messages}} {
		if !v.to.Known() {
			*v.to = *v.from
		}
	}
	if !l.Idle.Known() {
		l.Idle = safe.Idle
	}
}
