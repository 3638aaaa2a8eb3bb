package upstream

import "mailwhy/diagnose"

// elsewhere continues p on a connection that offers what p needs: the current one does not, though the
// upstream did before. It looks for one once, at every address. If there is none, p waits. Other messages
// may need less, so this is not a fault of the lane.
func (x *exchange) elsewhere(p *part) *part {
	a := x.attempt(p, diagnose.StageHello, reply{err: p.lack})
	if !p.sought {
		p.sought = true
		x.p.retire(x.c)
		x.hold(nil)
		c, fault := x.p.open(x.ctx, false, func(e *extensions) *netError { return x.lacking(p, e) })
		switch {
		case fault == nil:
			x.hold(c)
			return p
		case !lacks(fault):
			return x.fail(p, fault)
		}
		a = *fault
	}
	p.d.settle(p.d.waiting, a)
	p.d.waiting = nil
	return x.then(p, nil)
}

// lacking is what p needs, was offered before, and is not in e.
func (x *exchange) lacking(p *part, e *extensions) *netError {
	_, lack, err := admit(p.d.t, e, &x.p.history, x.buf.in)
	if err != nil || lack == nil || lack.kind != diagnose.NetExtensionMissing {
		return nil // prepare will find the same
	}
	return lack
}
