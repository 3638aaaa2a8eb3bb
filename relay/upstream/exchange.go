package upstream

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/upstream/stamp"
)

// exchange is one call of Relay.
type exchange struct {
	p    *Pool
	ctx  context.Context
	next func() *relay.Transaction
	done func(*relay.Transaction, relay.Result)
	buf  *buffers

	c       *conn                // nil after it was lost
	current atomic.Pointer[conn] // the same, for the end of the grace period
	fresh   bool                 // use only new connections: a reused one was lost
}

// loss is the end of a connection during a transaction.
type loss struct {
	stage diagnose.Stage
	rep   reply // the last reply, or an error
	dot   bool  // the final dot was written
}

// Relay implements relay.Upstream.
func (p *Pool) Relay(ctx context.Context, first *relay.Transaction, next func() *relay.Transaction,
	done func(*relay.Transaction, relay.Result)) {
	x := &exchange{p: p, ctx: ctx, next: next, done: done, buf: p.buffers.Get().(*buffers)}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { x.grace(over) })
	sound := false // unless next, done or a content panics
	defer func() {
		close(over)
		stop()
		if x.c != nil && sound {
			p.put(x.c)
		} else if x.c != nil {
			x.c.close()
		}
		if cap(x.buf.out) <= 8*block {
			p.buffers.Put(x.buf)
		}
	}()
	for t := begin(first); t != nil; {
		t = x.carry(t)
	}
	sound = true
}

// grace ends the connection in use if the exchange goes on for too long after its cancellation.
func (x *exchange) grace(over <-chan struct{}) {
	t := time.NewTimer(x.p.opt.Grace)
	defer t.Stop()
	select {
	case <-over:
	case <-t.C:
		if c := x.current.Load(); c != nil {
			c.canceled.Store(true)
			c.net.Close() // the reader tells its user
		}
	}
}

// carry runs p and returns what follows: p again, the rest of its delivery, another delivery, or nil.
func (x *exchange) carry(p *part) *part {
	if p.d.err != nil {
		return x.then(p, nil)
	}
	if fault := x.connect(p); fault != nil {
		return x.fail(p, fault)
	}
	if !p.written {
		if !x.prepare(p) && p.lack != nil {
			return x.elsewhere(p)
		} else if !p.ready {
			return x.then(p, nil)
		}
		x.buf.out = x.envelope(x.buf.out[:0], p)
		if l := x.offer(); l != nil {
			return x.lose(p, l)
		}
	}
	data, again, l := x.answers(p)
	switch {
	case l != nil:
	case again:
		p.rewind()
		return p
	case data.code == 354 && len(p.accepted) > 0:
		return x.content(p)
	case data.code == 354:
		l = x.nothing()
	default:
		x.settle(p, diagnose.StageData, data)
		x.c.dirty = !p.cleared
	}
	if l != nil {
		return x.lose(p, l)
	}
	x.c.reused = true
	return x.then(p, nil)
}

// fail ends p with a fault that happened before MAIL.
func (x *exchange) fail(p *part, fault *relay.Attempt) *part {
	p.close()
	p.d.fault = fault
	x.done(p.d.t, p.d.result())
	return nil
}

// connect makes sure that there is a usable connection for p.
func (x *exchange) connect(p *part) *relay.Attempt {
	if x.c != nil && !p.written && !x.c.fit() {
		x.p.retire(x.c)
		x.hold(nil)
	}
	if x.c != nil {
		return nil
	}
	if x.ctx.Err() != nil {
		return x.p.canceled()
	}
	if !x.fresh {
		x.hold(x.p.get())
	}
	if x.c != nil {
		return nil
	}
	c, fault := x.p.open(x.ctx, false, nil)
	x.hold(c)
	return fault
}

// hold makes c the connection in use.
func (x *exchange) hold(c *conn) {
	x.c = c
	x.current.Store(c)
}

// prepare takes recipients and opens the content. It returns false if there is nothing to send: the server
// is known not to accept the message, or the content cannot be read.
func (x *exchange) prepare(p *part) bool {
	d := p.d
	if p.ready || d.err != nil || len(d.waiting) == 0 {
		return p.ready
	}
	n := min(x.p.opt.RcptMax, len(d.waiting))
	for _, most := range [...]int{x.c.ext.RcptMax, x.c.rcptMax} {
		if most > 0 {
			n = min(n, most)
		}
	}
	p.began = x.p.opt.Now()
	d.began = p.began
	p.lack = nil
	lack := x.admit(p)
	switch {
	case d.err != nil:
		return false
	case lack != nil && lack.kind == diagnose.NetExtensionMissing:
		p.lack = lack
		return false
	case lack != nil:
		d.settle(d.waiting, x.attempt(p, diagnose.StageQueue, reply{err: lack}))
		d.waiting = nil
		return false
	}
	p.rcpts, d.waiting = d.waiting[:n:n], d.waiting[n:]
	if x.p.opt.Stamp != nil {
		x.mark(p)
	}
	p.ready = true
	return true
}

// mark asks for p's stamp. A field that would make the message too large for the server is left out (RFC
// 1870, 6.1).
func (x *exchange) mark(p *part) {
	t := p.d.t
	to := make([]int, len(p.rcpts))
	for i, at := range p.rcpts {
		to[i] = t.Recipients[at]
	}
	p.stamp = x.p.opt.Stamp(t, to)
	f := &p.stamp.Field
	if limit := x.c.ext.Size; limit > 0 && t.Message.Size+f.Size() > limit {
		*f = stamp.Field{}
	}
	if f.Name != "" {
		p.content = f.Add(p.content)
	}
}

// admit compares p with what the server offers and opens the content.
func (x *exchange) admit(p *part) (lack *netError) {
	d := p.d
	if d.err = writable(d.t); d.err != nil {
		return nil
	}
	if p.utf8, lack, d.err = admit(d.t, &x.c.ext, &x.p.history, x.buf.in); lack != nil || d.err != nil {
		return lack
	}
	p.content, d.err = d.t.Open()
	return nil
}

// settle gives the accepted recipients the verdict r.
func (x *exchange) settle(p *part, stage diagnose.Stage, r reply) {
	if len(p.accepted) > 0 {
		p.d.settle(p.accepted, x.attempt(p, stage, r))
	}
}

// attempt is the attempt that r makes of p.
func (x *exchange) attempt(p *part, stage diagnose.Stage, r reply) relay.Attempt {
	o := &x.p.opt
	a := relay.Attempt{Time: p.began, Duration: o.Now().Sub(p.began), Upstream: o.Name, Host: o.Host,
		Stage: stage}
	if x.c != nil {
		a.Remote, a.TLS, a.DSN = x.c.remote, x.c.tls, x.c.ext.DSN
	}
	say(&a, r, nil)
	if a.Accepted() {
		a.UpstreamID = upstreamID(a.Reply.Text)
	}
	return a
}

// lose ends a connection during p's transaction and returns what comes next.
func (x *exchange) lose(p *part, l *loss) *part {
	if x.lost(p, l) {
		return p
	}
	return x.then(p, nil)
}

// lost closes the connection and settles p, or returns true if p must be tried again at once.
func (x *exchange) lost(p *part, l *loss) (again bool) {
	reused, d := x.c.reused, p.d
	if l.rep.err != nil && x.c.canceled.Load() {
		l.rep.err = context.Canceled
	}
	a := x.attempt(p, l.stage, l.rep)
	x.drop()
	switch {
	case l.dot:
		a.Uncertain = l.rep.err != nil
		d.settle(p.accepted, a)
	case d.err != nil:
	case reused && !p.again && retriable(l):
		p.again, x.fresh = true, true
		p.rewind()
		return true
	default:
		d.settle(p.rcpts, a)
		d.settle(d.waiting, a)
		d.waiting = nil
	}
	return false
}

// retriable reports whether a reused connection was lost before the server could judge the message.
func retriable(l *loss) bool {
	return l.stage != diagnose.StageEndOfData || l.rep.err != nil &&
		!errors.As(l.rep.err, new(*protocolError))
}

// drop closes the connection without QUIT.
func (x *exchange) drop() {
	x.c.close()
	x.hold(nil)
}

// then ends p and reports its delivery, unless another part of it follows. It returns what comes next.
func (x *exchange) then(p, follow *part) *part {
	p.close()
	d := p.d
	if follow != nil && follow.d == d {
		return follow
	}
	if len(d.waiting) > 0 && d.err == nil {
		return &part{d: d}
	}
	x.done(d.t, d.result())
	if follow != nil {
		return follow
	}
	if x.c == nil || x.ctx.Err() != nil || !x.c.fit() {
		return nil
	}
	if t := x.next(); t != nil {
		return begin(t)
	}
	return nil
}
