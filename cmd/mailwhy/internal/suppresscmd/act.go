package suppresscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/suppress/listfile"
)

// expiry is when entries of now expire; zero: never.
func (f *command) expiry(now time.Time) (time.Time, error) {
	if f.forTime == "" {
		return time.Time{}, nil
	}
	d, err := value.ParseDuration(f.forTime)
	if err == nil && d <= 0 {
		err = errors.New("write how long, such as 30d")
	}
	if err != nil {
		return time.Time{}, f.o.Usage(fmt.Errorf("--for: %w", err))
	}
	return now.Add(d), nil
}

// add suppresses addresses.
func (f *command) add(ctx context.Context, addresses []string, w io.Writer) error {
	expires, err := f.expiry(time.Now())
	if err != nil {
		return err
	}
	entries := make([]relay.Suppression, len(addresses))
	for i, a := range addresses {
		entries[i] = relay.Suppression{Address: a, Scope: f.scope, Reason: diagnose.Reason(f.reason),
			Note: f.note, Expires: expires}
	}
	return f.with(ctx, func(l list, _ *config.Config) error {
		results, err := l.Suppress(ctx, entries)
		if err != nil {
			return err
		}
		var bad error
		for i, r := range results {
			switch {
			case r.Error != "":
				bad = f.o.Failed
				err = say(w, "not added: %s", printable(r.Error))
			case r.Change == "unchanged":
				err = say(w, "%s is suppressed already, at least as long", printable(addresses[i]))
			default:
				err = say(w, "added: %s", printable(addresses[i]))
			}
			if err != nil {
				return err
			}
		}
		return bad
	})
}

// remove takes addresses off the list.
func (f *command) remove(ctx context.Context, addresses []string, w io.Writer) error {
	return f.with(ctx, func(l list, _ *config.Config) error {
		var bad error
		for _, a := range addresses {
			n, err := l.Unsuppress(ctx, a, f.scope)
			switch {
			case err != nil:
				return err
			case n == 0:
				bad = f.o.Failed
				err = say(w, "%s is not on the list", printable(a))
			default:
				err = say(w, "removed: %s", printable(a))
			}
			if err != nil {
				return err
			}
		}
		return bad
	})
}

// importMany is how many entries are added as one transaction.
const importMany = 1000

// importing is an import under way.
type importing struct {
	f       *command
	ctx     context.Context
	list    list
	engine  *diagnose.Engine
	expires time.Time // of bounces, where the list does not say
	errs    io.Writer

	lines                   []int
	entries                 []relay.Suppression
	added, known, left, bad int
}

// imports adds the entries of a file.
func (f *command) imports(ctx context.Context, name string, stdin io.Reader, w, errs io.Writer) error {
	in := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	now := time.Now()
	expires, err := f.expiry(now)
	if err != nil {
		return err
	}
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return err
	}
	return f.with(ctx, func(l list, cfg *config.Config) error {
		if ttl := cfg.Suppression.TTLs(); expires.IsZero() {
			expires = now.Add(ttl[len(ttl)-1])
		}
		im := &importing{f: f, ctx: ctx, list: l, engine: engine, expires: expires, errs: errs}
		err := listfile.Read(in, im.line, im.refuse)
		if err == nil {
			err = im.flush()
		}
		if e := say(w, "added %d, suppressed already %d, not about the address %d, not valid %d", im.added,
			im.known, im.left, im.bad); err == nil {
			err = e
		}
		if err == nil && im.bad > 0 {
			err = f.o.Failed
		}
		return err
	})
}

// refuse reports a line that is not added.
func (im *importing) refuse(number int, err error) {
	im.bad++
	say(im.errs, "line %d: %s", number, printable(err.Error()))
}

// line takes a line.
func (im *importing) line(l listfile.Line) error {
	s := relay.Suppression{
		Address: l.Address, Scope: l.Scope, Reason: diagnose.Reason(l.Reason),
		Source:    relay.SuppressedByImport,
		FirstSeen: l.Time, Reply: l.Error, Expires: l.Expires, Note: l.Note, Hits: 1,
	}
	if im.f.scope != "" {
		s.Scope = im.f.scope
	}
	if im.f.reason != "" {
		s.Reason = diagnose.Reason(im.f.reason)
	}
	if s.Reason == "" && l.Error != "" {
		var why string
		if s.Reason, why = im.meaning(l.Error); why != "" && !im.f.all {
			im.left++
			return say(im.errs, "line %d: %s: not about the address: %s", l.Number, printable(l.Address), why)
		}
	}
	lasts := s.Reason == diagnose.ReasonSpamComplaint || s.Reason == "manual"
	if s.Expires.IsZero() && (!lasts || im.f.forTime != "") {
		s.Expires = im.expires
	}
	im.lines, im.entries = append(im.lines, l.Number), append(im.entries, s)
	if len(im.entries) < importMany {
		return nil
	}
	return im.flush()
}

// meaning is what an error of another system's means: a reason for which an address is suppressed, if it is
// one, or why the entry is none.
func (im *importing) meaning(text string) (reason diagnose.Reason, why string) {
	d := im.engine.Diagnose(diagnose.Symptom{Stage: diagnose.StageRemote, Reply: diagnose.ParseReply(text),
		Final: true})
	switch {
	case diagnose.ParseReply(text).Class() == 4:
		return "", "a temporary refusal"
	case d.Basis != diagnose.BasisText:
		return "", ""
	case d.Action == diagnose.ActionRemoveAddress:
		return "", ""
	}
	return "", string(d.Reason)
}

// flush adds what was read.
func (im *importing) flush() error {
	if len(im.entries) == 0 {
		return nil
	}
	results, err := im.list.Suppress(im.ctx, im.entries)
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", im.lines[0], im.lines[len(im.lines)-1], err)
	}
	for i, r := range results {
		switch {
		case r.Error != "":
			im.refuse(im.lines[i], errors.New(r.Error))
		case r.Change == "unchanged":
			im.known++
		default:
			im.added++
		}
	}
	im.lines, im.entries = im.lines[:0], im.entries[:0]
	return nil
}

// export writes the list.
func (f *command) export(ctx context.Context, w io.Writer) error {
	return f.with(ctx, func(l list, _ *config.Config) error {
		out, err := listfile.NewWriter(w)
		if err != nil {
			return err
		}
		filter := relay.SuppressionFilter{State: relay.SuppressionActive}
		err = l.Suppressed(ctx, filter, func(s relay.Suppression) error { return out.Write(&s) })
		if err != nil {
			return err
		}
		return out.Flush()
	})
}
