package imitation

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

//go:embed imitations.toml
var imitations string

// Load reads the imitations of this binary, in the order of the file.
func Load() ([]*Imitation, error) { return parse([]byte(imitations)) }

// ByName is the imitation of that name. Its error names those that there are.
func ByName(name string) (*Imitation, error) {
	all, err := Load()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range all {
		if i.Name == name {
			return i, nil
		}
		names = append(names, i.Name)
	}
	return nil, fmt.Errorf("no provider is called %q; there are %s", name, strings.Join(names, ", "))
}

// parse reads a file of imitations. It refuses unknown keys and rows that cannot work, and fills in plain
// words where a row has none.
func parse(text []byte) ([]*Imitation, error) {
	var f struct {
		Imitation []*Imitation `toml:"imitation"`
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, errors.New(strict.String())
		}
		return nil, err
	}
	var errs []error
	for _, i := range f.Imitation {
		if err := i.check(); err != nil {
			errs = append(errs, fmt.Errorf("imitation %s: %w", i.Name, err))
			continue
		}
		i.plain()
	}
	return f.Imitation, errors.Join(errs...)
}

// words are the keys that have words, with those words.
func (i *Imitation) words() map[string]*string {
	return map[string]*string{
		"greeting": &i.Greeting, "auth_ok": &i.AuthOK, "auth_failed": &i.AuthFailed, "accepted": &i.Accepted,
		"connections": &i.Connections.Reply, "messages": &i.Messages.Reply,
		"recipients": &i.Recipients.Reply, "size": &i.Size.Reply, "idle": &i.Idle.Reply,
		"null_sender": &i.NullSender.Reply, "unverified": &i.Unverified.Reply, "hello": &i.Hello.Reply,
	}
}

// check reports what cannot work.
func (i *Imitation) check() error {
	if i.Name == "" || i.Host == "" {
		return errors.New("name and host are required")
	}
	var errs []error
	if len(i.Ehlo) > 0 && len(i.Mechanisms()) == 0 {
		errs = append(errs, errors.New("EHLO has no AUTH line"))
	}
	if len(i.Ehlo) > 0 && !i.Implicit && !i.offers("STARTTLS") {
		errs = append(errs, errors.New("STARTTLS is not offered, nor is TLS implicit"))
	}
	if i.Idle.After < 0 {
		errs = append(errs, errors.New("idle.after is negative"))
	}
	words := i.words()
	for _, key := range i.Seen {
		w, ok := words[key]
		if key == "ehlo" {
			ok = len(i.Ehlo) > 0
		} else {
			ok = ok && *w != ""
		}
		if !ok {
			errs = append(errs, fmt.Errorf("seen: %s has no words", key))
		}
	}
	for key, r := range map[string]Refusal{"null_sender": i.NullSender, "unverified": i.Unverified} {
		if _, ok := stageOf(r.At); !ok && r.At+r.Reply != "" {
			errs = append(errs, fmt.Errorf("%s: not a valid stage: %q", key, r.At))
		}
	}
	if i.Connections.Limit > 0 && !slices.Contains([]string{"greeting", "data"}, i.Connections.At) {
		errs = append(errs, fmt.Errorf("connections: not a valid stage: %q", i.Connections.At))
	}
	return errors.Join(errs...)
}

// rfcIdle is how long a server must wait for a command (RFC 5321, 4.5.3.2.7). It stands for a time that
// nobody tells.
const rfcIdle = 5 * time.Minute

// plain gives plain words to what has none. What is not limited or refused needs none.
func (i *Imitation) plain() {
	if i.Idle.After == 0 {
		i.Idle.After = duration(rfcIdle)
	}
	if len(i.Ehlo) == 0 {
		i.Ehlo = i.plainEhlo()
	}
	set := func(to *string, words string) {
		if *to == "" {
			*to = words
		}
	}
	set(&i.Greeting, "220 {host} ESMTP")
	set(&i.AuthOK, "235 2.7.0 Authentication successful")
	set(&i.AuthFailed, "535 5.7.8 Authentication credentials invalid")
	set(&i.Accepted, "250 2.0.0 Ok: queued as {HEX:10}")
	set(&i.Idle.Reply, "421 4.4.2 Timeout, closing the connection")
	set(&i.Connections.Reply, "421 4.7.0 Too many connections")
	set(&i.Messages.Reply, "421 4.7.0 Too many messages on this connection")
	set(&i.Recipients.Reply, "452 4.5.3 Too many recipients") // RFC 5321, 4.5.3.1.10
	set(&i.Size.Reply, "552 5.3.4 Message size exceeds the limit")
	if i.NullSender.At != "" {
		set(&i.NullSender.Reply, "550 5.7.1 The null sender is not allowed")
	}
	if i.Unverified.At != "" {
		set(&i.Unverified.Reply, "550 5.7.1 Sender <{from}> is not verified")
	}
}

// plainEhlo is an EHLO reply with what nearly every server offers.
func (i *Imitation) plainEhlo() []string {
	lines := []string{"{host}", "PIPELINING", "8BITMIME"}
	if !i.Implicit {
		lines = append(lines, "STARTTLS")
	}
	if i.Size.Limit > 0 {
		lines = append(lines, fmt.Sprintf("SIZE %d", i.Size.Limit))
	}
	return append(lines, "AUTH PLAIN LOGIN")
}
