// Package imitation makes the scripted upstream of smtptest behave as one provider's server does: its
// greeting and EHLO lines, AUTH mechanisms, limits, the cut of idle connections, the form of the final 250,
// and its refusals.
//
// `mailwhy practice --as NAME` uses it, and the tests of the upstream client. There is one imitation for each
// preset, under the same name. What differs between providers is data (imitations.toml, embedded); the
// behaviour is the same small script for all.
//
// What always holds: TLS and AUTH are real; a message is accepted only with TLS and after AUTH. Words that
// somebody has seen are named in the row's `seen`; all others are plain, and may differ from the provider's.
package imitation

import (
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// Imitation is how one provider's server behaves. In every text {name} is filled in; fill lists the names.
type Imitation struct {
	Name     string   `toml:"name"` // that of the preset
	Host     string   `toml:"host"` // by which the server calls itself
	Implicit bool     `toml:"implicit"`
	Seen     []string `toml:"seen"` // the keys whose words are the provider's; the others are plain

	Greeting    string   `toml:"greeting"`
	Ehlo        []string `toml:"ehlo"` // AUTH is shown only in TLS, STARTTLS only in clear; plain when empty
	AuthInClear bool     `toml:"auth_in_clear"`
	AuthOK      string   `toml:"auth_ok"`
	AuthFailed  string   `toml:"auth_failed"`
	Accepted    string   `toml:"accepted"` // the reply to a message that is taken

	Connections Limit   `toml:"connections"` // at once
	Messages    Limit   `toml:"messages"`    // on one connection, which then ends
	Recipients  Limit   `toml:"recipients"`  // in one transaction
	Size        Limit   `toml:"size"`        // of a message in bytes
	Idle        Cut     `toml:"idle"`
	NullSender  Refusal `toml:"null_sender"`
	Unverified  Refusal `toml:"unverified"` // of a sender with the local part "unverified"
	Hello       Refusal `toml:"hello"`      // of a name in EHLO that is not public; it ends the session
}

// Limit is a limit and what is said beyond it.
type Limit struct {
	Limit int64  `toml:"limit"` // 0: none
	At    string `toml:"at"`    // the stage of the refusal, where there is a choice
	Reply string `toml:"reply"`
}

// Cut is the end of an idle connection.
type Cut struct {
	After duration `toml:"after"` // 5m where it is not known
	Reply string   `toml:"reply"`
}

// Refusal is what is refused and when.
type Refusal struct {
	At    string `toml:"at"` // mail, rcpt or end_of_data
	Reply string `toml:"reply"`
}

// duration is a time span that is written as "10s".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

// Settings are what the user of an imitation chooses.
type Settings struct {
	Users    map[string]string // user -> password or token; nil takes any user with any password
	Speed    float64           // how much faster idle time passes; 0 is 1
	Crossing bool              // the cut of an idle connection is the answer to its next command
}

// Options makes base behave as the provider. Its address, listener, hooks and memory stay, and a Script in it
// is asked first. Without a TLS configuration it gets a certificate made for the occasion.
func (i *Imitation) Options(base smtptest.Options, s Settings) (smtptest.Options, error) {
	o := base
	if o.TLS == nil {
		id, err := smtptest.Certificate("localhost", "127.0.0.1", "::1", i.Host)
		if err != nil {
			return o, err
		}
		o.TLS = id.Server()
	}
	speed := s.Speed
	if speed == 0 {
		speed = 1
	}
	b := &behaviour{i: i, first: base.Script, open: map[int]bool{}, heard: map[int]time.Time{}}
	idle := time.Duration(float64(i.Idle.After) / speed)
	if s.Crossing {
		b.cross = idle
	} else {
		o.Idle, o.IdleReply = idle, b.fill(i.Idle.Reply, smtptest.Command{})
	}
	o.Hostname, o.SizeLimit = i.Host, i.Size.Limit
	o.ImplicitTLS, o.RequireTLS, o.RequireAuth = i.Implicit, true, true
	o.Mechanisms, o.Without = i.Mechanisms(), i.without()
	o.Users, o.Login = nil, b.login(s.Users)
	o.Script, o.Ended = b.script, b.ended(base.Ended)
	return o, nil
}

// keywords are the EHLO lines without the first, which names the host.
func (i *Imitation) keywords() []string { return i.Ehlo[1:] }

// Mechanisms are those of the AUTH line.
func (i *Imitation) Mechanisms() []string {
	for _, line := range i.keywords() {
		if rest, ok := strings.CutPrefix(line, "AUTH "); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

// without are the keywords of the plain server that this one does not offer, so that it refuses their
// parameters.
func (i *Imitation) without() (keywords []string) {
	for _, k := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "SIZE"} {
		if !i.offers(k) {
			keywords = append(keywords, k)
		}
	}
	return keywords
}

// offers reports whether a keyword is among the EHLO lines.
func (i *Imitation) offers(keyword string) bool {
	for _, line := range i.keywords() {
		if word, _, _ := strings.Cut(line, " "); word == keyword {
			return true
		}
	}
	return false
}

// login judges credentials.
func (b *behaviour) login(users map[string]string) smtptest.Login {
	return func(_, user string, matches func(string) bool) string {
		want, known := users[user]
		cmd := smtptest.Command{User: user}
		if user == "" || users != nil && (!known || !matches(want)) {
			return b.fill(b.i.AuthFailed, cmd)
		}
		return b.fill(b.i.AuthOK, cmd)
	}
}

// stageOf is the stage that a word of the file names.
func stageOf(word string) (diagnose.Stage, bool) {
	stage, ok := map[string]diagnose.Stage{
		"greeting": diagnose.StageGreeting, "mail": diagnose.StageMail, "rcpt": diagnose.StageRcpt,
		"data": diagnose.StageData, "end_of_data": diagnose.StageEndOfData,
	}[word]
	return stage, ok
}
