// Package sandbox stands in front of a next hop, on machines for tests: only what the sandbox permits reaches
// it. Mail for other recipients is kept as files, or waits.
//
// In a sandbox that redirects, mail has the redirect's recipient since it was accepted (relay/rewrite). What
// was accepted before the sandbox was on has not, and waits here for as long as the sandbox is on. A report
// of our own is mail like any other.
//
// What always holds: a transaction of which one recipient is not permitted does not reach the next hop, not
// even its envelope. What is kept is durable before it counts as relayed, and its attempt has no reply, since
// no server gave one.
package sandbox

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address/pattern"
	"mailwhy/relay/internal/durable"
)

// Options are what an Upstream is made of.
type Options struct {
	Next     relay.Upstream // nil: nothing is permitted
	Allow    []string       // patterns of the recipients that are permitted
	Redirect string         // permitted too; "": none
	Dir      string         // where mail is kept that is not permitted; "": it waits
	Now      func() time.Time
}

// Upstream is a next hop behind a sandbox.
type Upstream struct {
	o     Options
	allow *pattern.Set
}

var _ relay.Upstream = (*Upstream)(nil)

// New makes an Upstream.
func New(o Options) *Upstream { return &Upstream{o, pattern.New(o.Allow)} }

// Relay implements relay.Upstream.
func (u *Upstream) Relay(ctx context.Context, first *relay.Transaction, next func() *relay.Transaction,
	done func(*relay.Transaction, relay.Result)) {
	permitted := func(t *relay.Transaction) *relay.Transaction {
		for t != nil && !u.permits(t) {
			done(t, u.keep(t))
			if t = nil; ctx.Err() == nil {
				t = next()
			}
		}
		return t
	}
	if t := permitted(first); t != nil {
		u.o.Next.Relay(ctx, t, func() *relay.Transaction { return permitted(next()) }, done)
	}
}

// permits reports whether all recipients of a transaction may get it.
func (u *Upstream) permits(t *relay.Transaction) bool {
	return u.o.Next != nil && !slices.ContainsFunc(t.Recipients, func(i int) bool {
		to := t.Message.Recipients[i].Address
		return !u.allow.Has(to) && (u.o.Redirect == "" || !strings.EqualFold(to, u.o.Redirect))
	})
}

// keep keeps the mail of a transaction. Without a place for it the mail waits, as after an attempt.
func (u *Upstream) keep(t *relay.Transaction) relay.Result {
	a := relay.Attempt{Time: u.o.Now(), Host: "sandbox", Stage: diagnose.StageQueue,
		NetErr: diagnose.NetErr{Kind: diagnose.NetSandbox, Text: "the sandbox does not let this mail leave"}}
	if u.o.Dir != "" {
		name, err := u.write(t)
		if err != nil {
			return relay.Result{Err: fmt.Errorf("sandbox: %w", err)}
		}
		t.Note("kept by the sandbox, not relayed")
		a = relay.Attempt{Time: a.Time, Duration: u.o.Now().Sub(a.Time), Host: a.Host,
			Stage: diagnose.StageEndOfData, Verdict: 2, UpstreamID: name}
	}
	return relay.Result{Attempts: slices.Repeat([]relay.Attempt{a}, len(t.Recipients))}
}

// write writes the mail of a transaction to a file, in place of one that an attempt before wrote, and returns
// its path. In front of it stands the envelope, as a server writes it that delivers mail (RFC 5321, 4.4).
func (u *Upstream) write(t *relay.Transaction) (name string, err error) {
	if err := durable.MkdirAll(durable.OS{}, u.o.Dir, 0o700); err != nil {
		return "", err
	}
	content, err := t.Open()
	if err != nil {
		return "", err
	}
	defer content.Close()
	name = filepath.Join(u.o.Dir, fmt.Sprintf("%s-%d.eml", t.Message.ID, t.Recipients[0]))
	arriving := name + ".arriving"
	fs := durable.OS{}
	fs.Remove(arriving) // of an attempt that was cut off
	f, err := durable.Create(arriving, 0o600)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(f, io.MultiReader(strings.NewReader(envelope(t)), content)); err != nil {
		f.Abort()
		return "", err
	}
	if err := f.Commit(); err != nil {
		return "", err
	}
	if err := fs.Rename(arriving, name); err != nil {
		return "", err
	}
	return name, fs.SyncDir(u.o.Dir)
}

// envelope is the envelope as header fields.
func envelope(t *relay.Transaction) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Return-Path: <%s>\r\n", t.From)
	for _, i := range t.Recipients {
		if r := &t.Message.Recipients[i]; !r.Sandboxed { // else the content has them
			fmt.Fprintf(&b, "X-Original-To: %s\r\n", r.Address)
		}
	}
	return b.String()
}

// Capabilities implements relay.Upstream. A sandbox that keeps all mail takes all, and reports of success are
// left to the relay.
func (u *Upstream) Capabilities() (relay.Capabilities, bool) {
	if u.o.Next == nil {
		return relay.Capabilities{DSN: true, SMTPUTF8: true, EightBit: true, Pipelining: true}, true
	}
	return u.o.Next.Capabilities()
}

// Probe implements relay.Upstream.
func (u *Upstream) Probe(ctx context.Context) *relay.Attempt {
	if u.o.Next == nil {
		return nil
	}
	return u.o.Next.Probe(ctx)
}

// Close implements relay.Upstream.
func (u *Upstream) Close() error {
	if u.o.Next == nil {
		return nil
	}
	return u.o.Next.Close()
}
