// Package logview is what `mailwhy log` needs beside reading lines: it finds an event behind what container
// tools put before each line, keeps the last lines, checks the names that filters are given, and counts
// refusals (summary.go).
package logview

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"mailwhy/config/mistake"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/smtpd/refusal"
)

// maxPrefix is the longest text before an event, bytes: a pod, a container and a time.
const maxPrefix = 512

// Parse reads an event of a delivery log. Before it there may be what `docker compose logs` ("relay-1  | "),
// `kubectl logs --prefix` ("[pod/app-0/mailwhy] ") or their --timestamps write; that is returned, too.
func Parse(line []byte) (prefix string, e record.Event, err error) {
	if e, err = record.Parse(line); err == nil {
		return "", e, nil
	}
	at := bytes.Index(line[:min(len(line), maxPrefix)], []byte(`{"v":`))
	if at <= 0 {
		return "", e, err
	}
	e, err = record.Parse(line[at:])
	return string(line[:at]), e, err
}

// Tail keeps the last pieces of what is shown.
type Tail struct {
	Size int // how many
	kept [][]byte
	next int // the oldest, once all places are taken
}

// Add adds a piece, and forgets the oldest where there are too many.
func (t *Tail) Add(b []byte) {
	switch {
	case t.Size <= 0:
	case len(t.kept) < t.Size:
		t.kept = append(t.kept, bytes.Clone(b))
	default:
		t.kept[t.next] = bytes.Clone(b)
		t.next = (t.next + 1) % t.Size
	}
}

// All are the pieces, the oldest first.
func (t *Tail) All() [][]byte { return append(slices.Clone(t.kept[t.next:]), t.kept[:t.next]...) }

// CheckEvents returns an error for the first name that is no kind of event.
func CheckEvents(names []string) error {
	var known []string
	for _, k := range relay.EventKinds() {
		known = append(known, string(k))
	}
	for _, name := range names {
		if !slices.Contains(known, strings.ToLower(name)) {
			return fmt.Errorf("--event %q: not an event: %s", name, Suggest(name, known))
		}
	}
	return nil
}

// CheckOwners returns an error for the first name that is nobody who could have to act.
func CheckOwners(names []string) error {
	var known []string
	for _, o := range diagnose.Owners() {
		known = append(known, string(o))
	}
	for _, name := range names {
		if !slices.ContainsFunc(known, func(k string) bool { return Plain(k) == Plain(name) }) {
			return fmt.Errorf("--owner %q: nobody who could have to act: %s", name, Suggest(name, known))
		}
	}
	return nil
}

// Suggest says which of the known names was probably meant, or else what they are.
func Suggest(name string, known []string) string {
	if hint := mistake.Nearest(strings.ToLower(name), known); hint != "" {
		return hint
	}
	return "use one of " + strings.Join(known, ", ")
}

// CheckCategories returns an error for the first name that is neither a category nor a built-in reason.
func CheckCategories(names []string) error {
	if len(names) == 0 {
		return nil
	}
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return err
	}
	own, err := refusal.Load()
	if err != nil {
		return err
	}
	var known []string
	for _, c := range engine.Categories() {
		known = append(known, string(c.Name))
	}
	categories := strings.Join(known, ", ")
	for _, r := range engine.Reasons() {
		known = append(known, string(r.ID))
	}
	for _, r := range own.All() {
		known = append(known, string(r.Reason))
	}
	for _, name := range names {
		if slices.ContainsFunc(known, func(k string) bool { return Plain(k) == Plain(name) }) {
			continue
		}
		hint := mistake.Nearest(name, known)
		if hint == "" {
			hint = "the categories are " + categories + "; mailwhy guide has the reasons"
		}
		return fmt.Errorf("--category %q: neither a category nor a reason: %s (with -c FILE it may be a "+
			"reason of your rules_file)", name, hint)
	}
	return nil
}

// Plain makes 'Mailbox Full', mailbox-full and mailbox_full the same.
func Plain(s string) string {
	return strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(s))
}
