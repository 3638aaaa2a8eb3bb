// Package upstream is the SMTP client: it sends messages to one next hop and reports exactly what the
// server said.
//
// A lane calls Pool.Relay with a transaction and a function that returns the next one. The pool connects
// (to any address of the host, IPv6 or IPv4), starts TLS, authenticates, and runs the transactions on one
// connection. If the server offers PIPELINING, MAIL, all RCPTs and DATA are one write, and the envelope of
// the next message is sent together with the end of data of the one before, so a message costs one round
// trip plus the server's own time.
//
// What always holds:
//
//   - Each reply is kept byte for byte, up to 64 KiB, with its stage, and belongs to the command and
//     recipient that it answers. A Go error becomes one of diagnose's NetErr kinds, in one place.
//   - A message cut short is never completed. If its content cannot be read to the end, or the server
//     replies before the end, the connection is closed without the final dot and without another command.
//   - A connection lost before the final dot costs nothing; after the dot the attempt is Uncertain. A
//     reused connection that turns out to be dead before a dot was written is replaced and is not a
//     failure, whether the server closes it, replies 421, or answers MAIL with a text about the session. It
//     is replaced only once: what a new connection answers counts.
//   - What goes wrong before MAIL is a Fault, not an attempt of any recipient. It is among the Attempts, at
//     its own stage, only if other recipients of the same message already have an answer.
//   - An extension that the upstream offered before and does not offer now is a connection fault (history):
//     another address is tried, and a message that needs the extension waits. Only a lasting change fails a
//     message.
//   - Every read, write and flush has a time limit. After cancellation the transaction in progress has its
//     grace period.
//   - Credentials are sent only over TLS, unless AllowPlaintextAuth is set, and appear in no error and no
//     log. Until they have worked, only one connection at a time tries them. An OAuth token that is refused
//     is replaced once and tried on a new connection; a token that cannot be had is a Fault at stage auth.
//
// The sub-rooms: mechanism (SASL clients), oauth (access tokens), proxy (the way out) and stamp (what is
// added to a message at the attempt). The files: options, pool, open (from TCP to the point before MAIL),
// dial, greeting, history, auth (who we are), login (the exchange of AUTH), exchange (transactions),
// delivery, envelope, stale, elsewhere, command and content (what is written), reply (what is read), conn,
// fault (from errors to kinds) and upstreamid.
//
// RFC 5321 (SMTP), 1870 (SIZE), 2920 (PIPELINING), 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME),
// 6531 (SMTPUTF8), 8305 (order of addresses), 9422 (LIMITS).
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// quitTimeout bounds the farewell, which no message depends on.
const quitTimeout = 5 * time.Second

// Pool holds the connections to one upstream. It implements relay.Upstream.
type Pool struct {
	opt     Options
	tls     *tls.Config // nil for mode none
	history history
	buffers sync.Pool // of *buffers
	logins  *logins
	silence atomic.Bool // a missing greeting was logged, and none has come since then

	sockets atomic.Int64 // connections, from the TCP handshake to their end
	ending  atomic.Int64 // ... of which a farewell is under way

	mu     sync.Mutex
	idle   []*conn // newest last
	closed bool
	quits  sync.WaitGroup
}

var (
	_ relay.Upstream         = (*Pool)(nil)
	_ relay.ConnectionKeeper = (*Pool)(nil)
)

// New checks the options and makes a Pool. Its error names everything that is wrong. It connects to nothing.
func New(o Options) (*Pool, error) {
	o.setHooks()
	p := &Pool{opt: o, logins: newLogins()}
	p.buffers.New = func() any { return newBuffers() }
	var err error
	p.tls, err = o.TLS.Config(o.Host, !p.clearAllowed()) // RFC 7435: unverified TLS is better than none
	if err = errors.Join(o.check(), err); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", o.Name, err)
	}
	return p, nil
}

// clearAllowed reports whether sending without TLS is better than not sending when STARTTLS fails: only the
// content is at stake, and the settings do not say which certificate to trust.
func (p *Pool) clearAllowed() bool {
	return p.opt.TLS.Mode == TLSOpportunistic && !p.opt.TLS.Trust() && p.opt.Auth == nil
}

// clearOffered reports whether a server without STARTTLS is acceptable.
func (p *Pool) clearOffered() bool {
	o := &p.opt
	return o.TLS.Mode == TLSOpportunistic && !o.TLS.Trust() && (o.Auth == nil || o.AllowPlaintextAuth)
}

// Capabilities implements relay.Upstream.
func (p *Pool) Capabilities() (relay.Capabilities, bool) {
	if c := p.history.caps.Load(); c != nil {
		return *c, true
	}
	return relay.Capabilities{}, false
}

// Probe implements relay.Upstream. Only a probe tries credentials again that were refused.
func (p *Pool) Probe(ctx context.Context) *relay.Attempt {
	c, fault := p.open(ctx, true, nil)
	if fault == nil {
		p.put(c)
	}
	return fault
}

// Close implements relay.Upstream. It waits for idle connections to QUIT, at most 10 seconds. Connections
// in use end with their exchange.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.quits.Add(len(idle))
	p.ending.Add(int64(len(idle)))
	p.mu.Unlock()
	for _, c := range idle {
		c.idle.Stop()
		go p.quit(c)
	}
	p.quits.Wait()
	return nil
}

// get returns an idle connection from the pool, or nil.
func (p *Pool) get() *conn {
	for {
		p.mu.Lock()
		if len(p.idle) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		p.mu.Unlock()
		c.idle.Stop()
		if c.fit() {
			return c
		}
		p.retire(c)
	}
}

// put keeps c for reuse, or ends it.
func (p *Pool) put(c *conn) {
	c.reused = true
	p.mu.Lock()
	keep := !p.closed && p.opt.MaxIdle > 0 && c.fit()
	if keep {
		p.idle = append(p.idle, c)
		c.idle = time.AfterFunc(p.opt.MaxIdle, func() {
			if p.forgetIdle(c) {
				p.retire(c)
			}
		})
	}
	p.mu.Unlock()
	if !keep {
		p.retire(c)
	}
}

// forgetIdle removes c from the pool and reports whether it was there.
func (p *Pool) forgetIdle(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.idle, c)
	if i < 0 {
		return false
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	c.idle.Stop()
	return true
}

// forget closes c, which the server has closed, if it is idle. If it is in use, its user will notice.
func (p *Pool) forget(c *conn) {
	if p.forgetIdle(c) {
		c.close()
	}
}

// retire ends c with QUIT in the background; after Close, before it returns.
func (p *Pool) retire(c *conn) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.quits.Add(1)
	}
	p.mu.Unlock()
	p.ending.Add(1)
	if closed {
		c.quit()
		p.ending.Add(-1)
		return
	}
	go p.quit(c)
}

func (p *Pool) quit(c *conn) {
	defer p.quits.Done()
	c.quit()
	p.ending.Add(-1)
}

// Connections implements relay.ConnectionKeeper.
func (p *Pool) Connections() (open, ending int) {
	ending = int(p.ending.Load())
	return max(int(p.sockets.Load())-ending, 0), ending
}

// CloseIdle implements relay.ConnectionKeeper. The oldest go first.
func (p *Pool) CloseIdle(keep int) {
	for {
		p.mu.Lock()
		open, _ := p.Connections()
		if len(p.idle) == 0 || open <= keep {
			p.mu.Unlock()
			return
		}
		c := p.idle[0]
		p.idle = p.idle[1:]
		c.idle.Stop()
		p.ending.Add(1)
		p.quits.Add(1)
		p.mu.Unlock()
		go p.quit(c)
	}
}

// canceled is the fault of an exchange that was cancelled before it began.
func (p *Pool) canceled() *relay.Attempt {
	return p.fault(p.opt.Now(), "", "", &problem{stage: diagnose.StageConnect, err: context.Canceled})
}

// Trial is a session of its own in which a check asks what the server would take. It carries no message. It
// is not safe for concurrent use.
type Trial struct {
	p *Pool
	c *conn
}

// Try opens a session up to the point before MAIL, or returns the fault that it met. Credentials that were
// refused before are tried again.
func (p *Pool) Try(ctx context.Context) (*Trial, *relay.Attempt) {
	c, fault := p.open(ctx, true, nil)
	if fault != nil {
		return nil, fault
	}
	return &Trial{p, c}, nil
}

// Remote is the address and port that was reached.
func (t *Trial) Remote() string { return t.c.remote }

// TLS is the state of TLS; ok is false in clear.
func (t *Trial) TLS() (state tls.ConnectionState, ok bool) {
	if c, secure := t.c.net.(*tls.Conn); secure {
		return c.ConnectionState(), true
	}
	return state, false
}

// Hello is the first line of the server's reply to EHLO.
func (t *Trial) Hello() string { return t.c.ext.first }

// Offers are the extensions that the server offers, and its AUTH mechanisms.
func (t *Trial) Offers() (c relay.Capabilities, auth []string) {
	return t.c.ext.Capabilities, t.c.ext.auth
}

// Ask sends MAIL with the reverse-path from, RCPT for to if it is not empty, and RSET (RFC 5321, 4.1.1.5).
// The attempt is that of the last command that was answered, whether it was accepted or not.
func (t *Trial) Ask(from, to string) *relay.Attempt {
	a := t.command(diagnose.StageMail, "MAIL FROM:<"+from+">", from)
	if a.Reply.Class() == 2 && to != "" {
		a = t.command(diagnose.StageRcpt, "RCPT TO:<"+to+">", to)
	}
	if a.NetErr.Kind != diagnose.NetNone {
		return a
	}
	if r := t.command(diagnose.StageReset, "RSET", ""); a.Reply.Class() == 2 && r.Reply.Class() != 2 {
		return r
	}
	return a
}

// command sends one command and makes an attempt of the answer.
func (t *Trial) command(stage diagnose.Stage, line, address string) *relay.Attempt {
	o := &t.p.opt
	a := &relay.Attempt{Time: o.Now(), Upstream: o.Name, Host: o.Host, Remote: t.c.remote, TLS: t.c.tls,
		Stage: stage}
	switch {
	case !path(address):
		say(a, reply{}, &netError{diagnose.NetLocal, "the address cannot be written in a command"})
		return a
	case !ascii(address) && t.c.ext.SMTPUTF8 && stage == diagnose.StageMail:
		line += " SMTPUTF8" // RFC 6531, 3.4
	}
	if err := t.c.write([]byte(line+"\r\n"), o.Timeouts.Write); err != nil {
		say(a, t.c.lastWords(err), nil)
	} else {
		say(a, t.c.await(o.Timeouts.Command), nil)
	}
	a.Duration = o.Now().Sub(a.Time)
	return a
}

// Close ends the session with QUIT.
func (t *Trial) Close() { t.c.quit() }
