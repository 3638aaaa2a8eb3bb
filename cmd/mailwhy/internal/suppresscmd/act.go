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
	"mailwhy/relay/suppress/transfer"
)

// expiry is when entries of now expire; zero: never.
func (f *flags) expiry(now time.Time) (time.Time, error) {
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
func (f *flags) add(ctx context.Context, addresses []string, w io.Writer) error {
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
func (f *flags) remove(ctx context.Context, addresses []string, w io.Writer) error {
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

// imports adds the entries of a file.
func (f *flags) imports(ctx context.Context, name string, stdin io.Reader, w, errs io.Writer) error {
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
		ttl := cfg.Suppression.TTLs()
		got, err := transfer.Import(ctx, in, transfer.Options{
			Add: l.Suppress, Diagnose: engine.Diagnose,
			Scope: f.scope, Reason: diagnose.Reason(f.reason), All: f.all,
			Expires: expires, Bounces: now.Add(ttl[len(ttl)-1]),
			Bad: func(line int, err error) { say(errs, "line %d: %s", line, printable(err.Error())) },
			NotAbout: func(line int, address, why string) error {
				return say(errs, "line %d: %s: not about the address: %s", line, printable(address), why)
			},
		})
		if e := say(w, "added %d, suppressed already %d, not about the address %d, not valid %d", got.Added,
			got.Known, got.NotAbout, got.Bad); err == nil {
			err = e
		}
		if err == nil && got.Bad > 0 {
			err = f.o.Failed
		}
		return err
	})
}

// export writes the list.
func (f *flags) export(ctx context.Context, w io.Writer) error {
	return f.with(ctx, func(l list, _ *config.Config) error {
		return transfer.Export(w, func(write func(*relay.Suppression) error) error {
			return l.Suppressed(ctx, relay.SuppressionFilter{State: relay.SuppressionActive},
				func(s relay.Suppression) error { return write(&s) })
		})
	})
}
