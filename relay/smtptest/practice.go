package smtptest

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"

	"mailwhy/diagnose"
)

// Case is a named behaviour of a practice upstream. A recipient asks for it by its local part.
type Case struct {
	Name     string
	About    string            // what it rehearses
	Category diagnose.Category // that the guide gives its reply; empty where it gives none
	Stage    diagnose.Stage    // at which it shows: StageRcpt or StageEndOfData
	Reply    string            // {to}, {from} and {domain} (of from) are filled in
	Delay    time.Duration
	End      End
	Once     bool // only the first time for each sender and recipient
}

//go:embed practice.toml
var practiceFile []byte

// Cases are the named behaviours: what the large providers and the common servers really answer, at the stage
// at which they do.
func Cases() []Case {
	cases, err := parseCases(practiceFile)
	if err != nil {
		panic("smtptest: practice.toml: " + err.Error()) // it is embedded, so a test would have found it
	}
	return cases
}

// parseCases reads a file of cases.
func parseCases(file []byte) ([]Case, error) {
	var read struct {
		Case []struct {
			Case
			Delay string // as time.ParseDuration reads it
		}
	}
	d := toml.NewDecoder(bytes.NewReader(file)).DisallowUnknownFields()
	if err := d.Decode(&read); err != nil {
		return nil, err
	}
	cases := make([]Case, len(read.Case))
	for i, c := range read.Case {
		cases[i] = c.Case
		if c.Delay == "" {
			continue
		}
		var err error
		if cases[i].Delay, err = time.ParseDuration(c.Delay); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return cases, nil
}

// maxSeen is how many pairs of sender and recipient a practice upstream remembers for its Once cases.
const maxSeen = 10_000

// practice is the Script's state.
type practice struct {
	cases map[string]Case

	mu   sync.Mutex
	seen map[string]bool // sender and recipient that a Once case refused
}

// Practice is the Script of a practice upstream: it does what the recipients' local parts ask for, and
// accepts the rest. A local part is a case's name or a reply's codes, such as 550 or 550-5.1.1, and then any
// number of tags:
//
//	unknown@any.test            the named case
//	452-4.2.2@any.test          that reply to RCPT
//	452-4.2.2+data@any.test     that reply to the content; when several recipients ask, the first one's
//	451-4.3.0+once@any.test     only the first time for this sender and recipient
//	full+user17@any.test        further tags make addresses differ
func Practice() func(Command) Action {
	p := &practice{cases: make(map[string]Case), seen: make(map[string]bool)}
	for _, c := range Cases() {
		p.cases[c.Name] = c
	}
	return p.script
}

// script implements Options.Script.
func (p *practice) script(cmd Command) Action {
	switch {
	case cmd.Stage == diagnose.StageRcpt && cmd.Arrived != nil:
		return p.at(cmd.Stage, cmd.Arrived.From, cmd.Address)
	case cmd.Stage == diagnose.StageEndOfData:
		for _, r := range cmd.Arrived.To {
			if a := p.at(cmd.Stage, cmd.Arrived.From, r.Address); !a.IsZero() {
				return a
			}
		}
	}
	return Action{}
}

// at is what a recipient asks for at a stage.
func (p *practice) at(stage diagnose.Stage, from, to string) Action {
	c, ok := p.asked(to)
	if !ok || c.Stage != stage || (c.Once && !p.first(from+"\x00"+to)) {
		return Action{}
	}
	return c.Action(from, to)
}

// Action is what the case makes a server do to a sender and a recipient.
func (c Case) Action(from, to string) Action {
	_, domain, _ := strings.Cut(from, "@")
	fill := strings.NewReplacer("{to}", to, "{from}", from, "{domain}", domain)
	return Action{Delay: c.Delay, Reply: fill.Replace(c.Reply), End: c.End}
}

// codes is a local part that asks for a reply by its codes.
var codes = regexp.MustCompile(`^([2-7][0-9][0-9])(?:-([0-9]\.[0-9]{1,3}\.[0-9]{1,3}))?$`)

// asked reads a recipient's local part.
func (p *practice) asked(to string) (Case, bool) {
	local, _, _ := strings.Cut(strings.ToLower(to), "@")
	name, tags, _ := strings.Cut(local, "+")
	c, ok := p.cases[name]
	if !ok {
		m := codes.FindStringSubmatch(name)
		if m == nil {
			return Case{}, false
		}
		c = coded(m[1], m[2])
	}
	for tag := range strings.SplitSeq(tags, "+") {
		switch tag {
		case "data":
			c.Stage = diagnose.StageEndOfData
		case "once":
			c.Once = true
		}
	}
	return c, true
}

// coded is a reply by its codes. Its wording says nothing, so that a diagnosis must rest on the codes.
func coded(code, enhanced string) Case {
	c := Case{Stage: diagnose.StageRcpt, Reply: code + " Practice reply"}
	if enhanced != "" {
		c.Reply = code + " " + enhanced + " Practice reply"
	}
	if code == "221" || code == "421" { // RFC 5321, 3.8 and 4.2.2
		c.End = EndClose
	}
	return c
}

// first reports whether a pair was not seen before. Past maxSeen it forgets them all, so that its memory is
// bounded.
func (p *practice) first(pair string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[pair] {
		return false
	}
	if len(p.seen) >= maxSeen {
		clear(p.seen)
	}
	p.seen[pair] = true
	return true
}
