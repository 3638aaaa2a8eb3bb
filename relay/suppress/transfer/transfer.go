// Package transfer brings the suppression lists of other systems into ours and writes ours as a file.
// `mailwhy suppress import`, POST /v1/suppressions/import and the web page use it. Package listfile reads the
// lines; this one decides what becomes of each: where another system quotes a reply, that is explained by the
// same engine as all replies, and an entry whose reply is not about the address is left out.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/suppress/listfile"
)

// many is how many entries are added as one transaction.
const many = 1000

// Options are how a list is imported. The functions are required.
type Options struct {
	Add      func(context.Context, []relay.Suppression) ([]relay.SuppressionResult, error)
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	Bad      func(line int, err error)                 // hears of each line that is not valid
	NotAbout func(line int, address, why string) error // hears of each entry that is left out

	Scope   string          // of all entries; "": as the list says
	Reason  diagnose.Reason // of all entries; "": as the list says
	Expires time.Time       // of entries where the list does not say; zero: Bounces of all but complaints
	Bounces time.Time       // when entries end that follow from bounces
	All     bool            // also entries whose reply is not about the address
}

// Result counts what became of the lines.
type Result struct {
	Added, Known, NotAbout, Bad int
}

// Import adds the entries of a list. After an error those before it are added.
func Import(ctx context.Context, in io.Reader, o Options) (Result, error) {
	im := &importing{o: o, ctx: ctx}
	err := listfile.Read(in, im.line, im.bad)
	if err == nil {
		err = im.flush()
	}
	return im.result, err
}

// importing is an import under way.
type importing struct {
	o       Options
	ctx     context.Context
	lines   []int
	entries []relay.Suppression
	result  Result
}

// bad reports a line that is not valid.
func (im *importing) bad(line int, err error) {
	im.result.Bad++
	im.o.Bad(line, err)
}

// line takes a line.
func (im *importing) line(l listfile.Line) error {
	s := relay.Suppression{
		Address: l.Address, Scope: l.Scope, Reason: diagnose.Reason(l.Reason),
		Source:    relay.SuppressedByImport,
		FirstSeen: l.Time, Reply: l.Error, Expires: l.Expires, Note: l.Note, Hits: 1,
	}
	if im.o.Scope != "" {
		s.Scope = im.o.Scope
	}
	if im.o.Reason != "" {
		s.Reason = im.o.Reason
	}
	if s.Reason == "" && l.Error != "" && !im.o.All {
		if why := im.notAbout(l.Error); why != "" {
			im.result.NotAbout++
			return im.o.NotAbout(l.Number, l.Address, why)
		}
	}
	if s.Expires.IsZero() {
		s.Expires = im.expires(s.Reason)
	}
	im.lines, im.entries = append(im.lines, l.Number), append(im.entries, s)
	if len(im.entries) < many {
		return nil
	}
	return im.flush()
}

// expires is when an entry ends for which the list does not say so.
func (im *importing) expires(reason diagnose.Reason) time.Time {
	if lasts := reason == diagnose.ReasonSpamComplaint || reason == "manual"; lasts ||
		!im.o.Expires.IsZero() {
		return im.o.Expires
	}
	return im.o.Bounces
}

// notAbout is why a reply that another system met says nothing against the address; "" if it may.
func (im *importing) notAbout(text string) string {
	reply := diagnose.ParseReply(text)
	d := im.o.Diagnose(diagnose.Symptom{Stage: diagnose.StageRemote, Reply: reply, Final: true})
	switch {
	case reply.Class() == 4:
		return "a temporary refusal"
	case d.Basis != diagnose.BasisText, d.Action == diagnose.ActionRemoveAddress:
		return ""
	}
	return string(d.Reason)
}

// flush adds what was read.
func (im *importing) flush() error {
	if len(im.entries) == 0 {
		return nil
	}
	results, err := im.o.Add(im.ctx, im.entries)
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", im.lines[0], im.lines[len(im.lines)-1], err)
	}
	for i, r := range results {
		switch {
		case r.Error != "":
			im.bad(im.lines[i], errors.New(r.Error))
		case r.Change == "unchanged":
			im.result.Known++
		default:
			im.result.Added++
		}
	}
	im.lines, im.entries = im.lines[:0], im.entries[:0]
	return nil
}

// Export writes the entries that each gives, which must be suppressed.
func Export(out io.Writer, each func(func(*relay.Suppression) error) error) error {
	w, err := listfile.NewWriter(out)
	if err != nil {
		return err
	}
	if err := each(w.Write); err != nil {
		return err
	}
	return w.Flush()
}
