package imitation

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	if i.Name == "" || i.Host == "" || len(i.Ehlo) < 2 || len(i.Mechanisms()) == 0 {
		return errors.New("name, host, and EHLO lines with AUTH are required")
	}
	var errs []error
	if !i.Implicit && !i.offers("STARTTLS") {
		errs = append(errs, errors.New("STARTTLS is not offered, nor is TLS implicit"))
	}
	if i.Idle.After <= 0 {
		errs = append(errs, errors.New("idle.after is required"))
	}
	words := i.words()
	for _, key := range i.Seen {
		if w, ok := words[key]; key != "ehlo" && (!ok || *w == "") {
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

// plain gives plain words to what has none. What is not limited or refused needs none.
func (i *Imitation) plain() {
	set := func(to *string, words string) {
		if *to == "" {
			*to = words
		}
	}
	set(&i.Greeting, "220 {host} ESMTP")
	set(&i.AuthOK, "235 2.7.0 Authentication successful")
	set(&i.AuthFailed, "535 5.7.8 Authentication credentials invalid")
	set(&i.Accepted, "250 2.0.0 Ok: queued as {HEX:10}")
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
