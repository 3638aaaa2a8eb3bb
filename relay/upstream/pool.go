// Package upstream is the SMTP client side: it brings messages to one next hop and reports exactly what was said.
//
// A lane calls Pool.Relay with a transaction and with a way to ask for the next; the pool connects (every address of
// the host, IPv6 and IPv4), goes over to TLS, authenticates, and runs the transactions on one connection. MAIL, all
// RCPTs and DATA travel in one write where the server offers PIPELINING, and the next message's envelope travels with the end
// of data of the one before, so that a message costs one round trip plus the server's own time.
//
// What always holds:
//
//   - Each reply is kept byte for byte, up to 64 KiB, with the stage at which it was given, and belongs to the
//     command and recipient that it answers. A go error is one of diagnose's NetErr kinds, named in one place.
//   - A message cut short is never completed: when its content cannot be read to the end, or the server speaks before
//     the end, the connection is closed without the final dot and without another command.
//   - A connection that is lost before the final dot has cost nothing; after it the attempt is Uncertain. A reused
//     connection that turns out to be gone, before a dot was written, is replaced and not a failure, whether the
//     server closes it, says 421, or answers MAIL with words about the session. It is replaced once: what a fresh
//     connection answers counts.
//   - What goes wrong before MAIL is a Fault, nobody's attempt. Only where other recipients of the same message have
//     been answered before does it stand among the Attempts, at its own stage.
//   - What the upstream has offered before and does not offer now is a fault of the way (history): another address
//     is tried, and a message that needs it waits. Only what has lasted fails a message.
//   - Every read, write and flush has a time limit. Cancelling leaves the transaction under way its grace.
//   - Credentials travel over TLS only, unless AllowPlaintextAuth says otherwise, and appear in no error and no log. While
//     they are not known to be good one connection at a time tries them.
//
// The files: open (from TCP to the point before MAIL), greeting, history, auth, login, exchange (transactions),
// stale, elsewhere, command and content (what is written), reply (what is read), conn, dial, fault (errors to
// kinds), upstreamid.
//
// RFC 5321 (SMTP), 1870 (SIZE), 2920 (PIPELINING), 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME),
// 6531 (SMTPUTF8), 8305 (order of addresses), 9422 (LIMITS).
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/tlsconf"
)

// TLS are the TLS settings of an upstream.
type TLS = tlsconf.Client

// The TLS modes.
const (
	TLSNone          = tlsconf.None
	TLSOpportunistic = tlsconf.Opportunistic
	TLSRequired      = tlsconf.StartTLS
	TLSImplicit      = tlsconf.Implicit
)

// Options are the settings of a Pool. Zero values mean the default that each field names.
type Options struct {
	Name string // of the upstream in the configuration
	Host string // name or address of the next hop
	Port int
	TLS  TLS

	Hello              string     // the name that EHLO gives; default "localhost"
	LocalAddr          netip.Addr // to connect from; default any
	Auth               Authenticator
	AllowPlaintextAuth bool // let credentials travel in clear
	NoPipelining       bool // one command at a time, for what stands before a server and breaks what it offers

	MaxMessages int           // transactions a connection; default 100
	MaxIdle     time.Duration // unused, before QUIT; default 1 minute
	MaxAge      time.Duration // of a connection; default 15 minutes, since Microsoft cuts them at 20
	RcptMax     int           // recipients a transaction; default 100 (RFC 5321, 4.5.3.1.8)
	Timeouts    Timeouts
	Grace       time.Duration // of the transaction under way when the context is cancelled; default 8 seconds

	Now    func() time.Time // default time.Now
	Log    *slog.Logger     // default none
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// Timeouts bound each step of an exchange. The defaults are those of RFC 5321, 4.5.3.2, but for the greeting.
type Timeouts struct {
	Connect   time.Duration // look-up, each address, TLS handshake; default 30 seconds
	Greeting  time.Duration // default 30 seconds: a server that waits for TLS sends none
	Command   time.Duration // the reply to each command but DATA; default 5 minutes
	Data      time.Duration // the reply to DATA; default 2 minutes
	Write     time.Duration // each write; default 3 minutes
	EndOfData time.Duration // the reply to the final dot; default 10 minutes
}

// quitTimeout bounds the farewell, which nobody's mail depends on.
const quitTimeout = 5 * time.Second

// Pool holds the connections to one upstream. It implements relay.Upstream.
type Pool struct {
	opt     Options
	tls     *tls.Config // nil for mode none
	history history
	buffers sync.Pool // of *buffers
	logins  *logins
	silence atomic.Bool // a missing greeting was logged, and none has come since

	mu     sync.Mutex
	idle   []*conn // the newest last
	closed bool
	quits  sync.WaitGroup
}

var _ relay.Upstream = (*Pool)(nil)

// New checks the options, all at once, and makes a Pool. It connects to nothing.
func New(o Options) (*Pool, error) {
	o.fill()
	p := &Pool{opt: o, logins: newLogins()}
	p.buffers.New = func() any { return newBuffers() }
	var err error
	p.tls, err = o.TLS.Config(o.Host, !p.clearAllowed()) // RFC 7435: unverified is better than in clear
	if o.Host == "" {
		err = errors.Join(err, errors.New("no host"))
	}
	if o.Port < 1 || o.Port > 65535 {
		err = errors.Join(err, fmt.Errorf("port %d is not in 1..65535", o.Port))
	}
	if strings.ContainsFunc(o.Hello, func(r rune) bool { return r <= ' ' || r > '~' }) {
		err = errors.Join(err, fmt.Errorf("EHLO name %q has characters that a host name has not", o.Hello))
	}
	if p.tls == nil && o.Auth != nil && !o.AllowPlaintextAuth {
		err = errors.Join(err, errors.New("credentials without TLS would travel in clear"))
	}
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", o.Name, err)
	}
	return p, nil
}

// fill puts the defaults in.
func (o *Options) fill() {
	set(&o.Hello, "localhost")
	set(&o.MaxMessages, 100)
	set(&o.MaxIdle, time.Minute)
	set(&o.MaxAge, 15*time.Minute)
	set(&o.RcptMax, 100)
	set(&o.Grace, 8*time.Second)
	t := &o.Timeouts
	set(&t.Connect, 30*time.Second)
	set(&t.Greeting, 30*time.Second)
	set(&t.Command, 5*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Write, 3*time.Minute)
	set(&t.EndOfData, 10*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Dial == nil {
		o.Dial = dialer(o.LocalAddr)
	}
}

// set gives v its default where it is zero.
func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// clearAllowed reports whether to go on in clear is better than not at all when STARTTLS fails: nothing but the
// content is at stake, and nobody said whom to trust.
func (p *Pool) clearAllowed() bool {
	return p.opt.TLS.Mode == TLSOpportunistic && !p.opt.TLS.Trust() && p.opt.Auth == nil
}

// clearOffered reports whether a server without STARTTLS will do.
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

// Probe implements relay.Upstream. Credentials that were refused are tried again by a probe only.
func (p *Pool) Probe(ctx context.Context) *relay.Attempt {
	c, fault := p.open(ctx, true, nil)
	if fault == nil {
		p.put(c)
	}
	return fault
}

// Close implements relay.Upstream. It waits for the farewells, which take 10 seconds at most. Connections in use end
// with their exchange.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.quits.Add(len(idle))
	p.mu.Unlock()
	for _, c := range idle {
		c.idle.Stop()
		go p.quit(c)
	}
	p.quits.Wait()
	return nil
}

// get returns a connection that waits in the pool, or nil.
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
	keep := !p.closed && c.fit()
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

// forgetIdle takes c out of the pool and reports whether it was there.
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

// forget closes c, whose server has gone, if it waits in the pool. If it is in use its user will find out.
func (p *Pool) forget(c *conn) {
	if p.forgetIdle(c) {
		c.close()
	}
}

// retire ends c with QUIT, beside whatever goes on; after Close, here and now.
func (p *Pool) retire(c *conn) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.quits.Add(1)
	}
	p.mu.Unlock()
	if closed {
		c.quit()
		return
	}
	go p.quit(c)
}

func (p *Pool) quit(c *conn) {
	defer p.quits.Done()
	c.quit()
}

// canceled is the fault of an exchange that was not begun.
func (p *Pool) canceled() *relay.Attempt {
	return p.fault(p.opt.Now(), "", "", &problem{stage: diagnose.StageConnect, err: context.Canceled})
}
