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
	silence atomic.Bool // a missing greeting was logged, and none has come since

	mu     sync.Mutex
	idle   []*conn // the newest last
	closed bool
	quits  sync.WaitGroup
}

var _ relay.Upstream = (*Pool)(nil)

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
