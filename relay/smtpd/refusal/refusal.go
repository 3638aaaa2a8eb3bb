// Package refusal has every refusal of the front door: its reply, what it means, who must act, what mends it,
// and which setting decided. refusals.toml is the table; docs/refusals.md is made of it, and a test of
// package smtpd provokes each of them.
//
// What always holds: a reply is one line of printable ASCII, of at most 500 octets, whatever a client sent;
// no reply tells more of the configuration than which setting decided and the entry that fits the client's
// own words.
package refusal

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/clean"
)

// maxLine is the longest reply, so that clients which read 512 octets (RFC 5321, 4.5.3.1.5) read all of it.
const maxLine = 500

//go:embed refusals.toml
var tableFile []byte

// Refusal is one row of the table.
type Refusal struct {
	ID       string
	Code     int
	Enhanced string
	Text     string // what the client reads; a format of fmt
	Category diagnose.Category
	Reason   diagnose.Reason
	Cause    string
	Fix      []string
	Owner    diagnose.Owner
	Action   diagnose.Action
	Setting  string // key of the configuration that decides; "" when none does
}

// Table is the whole table. It never changes, and is safe for concurrent use.
type Table struct {
	rows []Refusal
	byID map[string]*Refusal
}

// Load reads the table.
func Load() (*Table, error) {
	var read struct{ Refusal []Refusal }
	d := toml.NewDecoder(bytes.NewReader(tableFile)).DisallowUnknownFields()
	if err := d.Decode(&read); err != nil {
		return nil, fmt.Errorf("refusals.toml: %w", err)
	}
	t := &Table{rows: read.Refusal, byID: map[string]*Refusal{}}
	for i := range t.rows {
		t.byID[t.rows[i].ID] = &t.rows[i]
	}
	return t, nil
}

// All are the rows, in the order of the table.
func (t *Table) All() []Refusal { return t.rows }

// Error says that the front door refuses something. It is not yet in words: the Table has these.
type Error struct {
	ID      string
	Args    []any  // of the row's Text; strings of a client are cleaned when they are written
	Setting string // that decided, if it is another one than the row's, and its entry
}

// New makes an Error.
func New(id string, args ...any) *Error { return &Error{ID: id, Args: args} }

// Error implements error.
func (e *Error) Error() string { return "refused: " + e.ID }

// By says which setting decided.
func (e *Error) By(setting string) *Error {
	e.Setting = setting
	return e
}

// of is the row of e.
func (t *Table) of(e *Error) *Refusal {
	if r := t.byID[e.ID]; r != nil {
		return r
	}
	return t.byID["internal_error"]
}

// Reply is what the client reads: basic code, enhanced code and text.
func (t *Table) Reply(e *Error) (code int, enhanced, text string) {
	r := t.of(e)
	args := make([]any, len(e.Args))
	for i, a := range e.Args {
		if s, ok := a.(string); ok {
			a = clean.ASCII(s, maxArgument)
		}
		args[i] = a
	}
	text, code, enhanced = r.Text, r.Code, r.Enhanced
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	room := maxLine - len("500 ") - len(enhanced) - len(" \r\n")
	return code, enhanced, text[:min(len(text), room)]
}

// maxArgument is how much of what a client sent is repeated.
const maxArgument = 128

// Line is Reply as a line, with its line end.
func (t *Table) Line(e *Error) string {
	code, enhanced, text := t.Reply(e)
	return fmt.Sprintf("%d %s %s\r\n", code, enhanced, text)
}

// Find is the Error of a reply that was made without one, by the wire or the library.
func (t *Table) Find(line string) *Error {
	for i := range t.rows {
		if r := &t.rows[i]; strings.HasSuffix(line, " "+r.Text) {
			return New(r.ID)
		}
	}
	return New("other")
}

// Diagnosis is what e means.
func (t *Table) Diagnosis(e *Error) *diagnose.Diagnosis {
	r := t.of(e)
	d := &diagnose.Diagnosis{
		Category: r.Category, InGuide: r.Category.InGuide(), Reason: r.Reason, Cause: r.Cause, Fix: r.Fix,
		Scope: scope(r), Owner: r.Owner, Action: r.Action, Basis: diagnose.BasisFrontDoor,
		Confidence: diagnose.High, Rule: "front_door." + r.ID,
	}
	if e.Setting != "" {
		d.Evidence = []string{"The setting that decided: " + clean.Line(e.Setting, 256)}
	} else if r.Setting != "" {
		d.Evidence = []string{"The setting that decided: " + r.Setting}
	}
	return d
}

// scope is whom a refusal concerns.
func scope(r *Refusal) diagnose.Scope {
	switch {
	case strings.HasPrefix(r.ID, "recipient_"), r.ID == "no_return_path":
		return diagnose.ScopeRecipient
	case strings.HasPrefix(r.ID, "sender_"), r.ID == "no_upstream":
		return diagnose.ScopeSender
	}
	return diagnose.ScopeMessage
}
