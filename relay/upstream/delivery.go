package upstream

import (
	"errors"
	"io"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/upstream/stamp"
)

// delivery is one relay.Transaction in progress, as one SMTP transaction or, with many recipients, as
// several.
type delivery struct {
	t        *relay.Transaction
	attempts []relay.Attempt // one per recipient in t.Recipients; open while it has no Stage
	waiting  []int           // indexes into attempts that are not in a transaction yet
	began    time.Time       // of the latest transaction
	fault    *relay.Attempt  // why the open ones stay open
	err      error           // the same, if the content could not be read
}

func begin(t *relay.Transaction) *part {
	d := &delivery{t: t, attempts: make([]relay.Attempt, len(t.Recipients)),
		waiting: make([]int, len(t.Recipients))}
	for i := range d.waiting {
		d.waiting[i] = i
	}
	return &part{d: d}
}

// result is the outcome of the delivery.
func (d *delivery) result() relay.Result {
	rest := d.fault
	switch {
	case d.err != nil && !d.any(taken):
		return relay.Result{Err: d.err}
	case d.err != nil:
		rest = &relay.Attempt{Time: d.began, Stage: diagnose.StageQueue, NetErr: unread(d.err)}
	case d.fault != nil && !d.any(answered):
		return relay.Result{Fault: d.fault}
	}
	if rest != nil {
		d.settle(d.open(), *rest)
	}
	return relay.Result{Attempts: d.attempts}
}

// unread is the reason why a content could not be read.
func unread(err error) diagnose.NetErr {
	kind := diagnose.NetLocal
	if errors.Is(err, relay.ErrCorrupt) || errors.Is(err, relay.ErrNotFound) {
		kind = diagnose.NetCorrupt
	}
	return diagnose.NetErr{Kind: kind, Text: err.Error()}
}

// taken reports whether another attempt could duplicate the message.
func taken(a *relay.Attempt) bool { return a.Accepted() || a.Uncertain }

func answered(a *relay.Attempt) bool { return a.Stage != diagnose.StageUnknown }

func (d *delivery) any(is func(*relay.Attempt) bool) bool {
	for i := range d.attempts {
		if is(&d.attempts[i]) {
			return true
		}
	}
	return false
}

// open returns the recipients without an attempt.
func (d *delivery) open() []int {
	var open []int
	for i := range d.attempts {
		if !answered(&d.attempts[i]) {
			open = append(open, i)
		}
	}
	return open
}

// settle gives the attempt a to the open recipients among pos.
func (d *delivery) settle(pos []int, a relay.Attempt) {
	for _, i := range pos {
		if !answered(&d.attempts[i]) {
			d.attempts[i] = a
		}
	}
}

// recipient is the recipient of attempt i.
func (d *delivery) recipient(i int) *relay.Recipient {
	return &d.t.Message.Recipients[d.t.Recipients[i]]
}

// part is one SMTP transaction of a delivery.
type part struct {
	d       *delivery
	rcpts   []int // indexes into d.attempts
	utf8    bool  // SMTPUTF8 is needed
	content io.ReadCloser
	stamp   stamp.Stamp // what is added to this transaction
	began   time.Time
	lack    *netError // what this connection does not offer, but another may

	ready    bool // rcpts and content are set
	written  bool // the envelope was written
	ahead    bool // it was written with the end of data of the part before
	reset    bool // it begins with RSET
	again    bool // it was tried again because a reused connection was lost
	sought   bool // a connection with more extensions was looked for
	cleared  bool // RSET was sent after MAIL was refused
	accepted []int
}

// rewind undoes everything that p has begun.
func (p *part) rewind() {
	p.close()
	back := slices.DeleteFunc(p.rcpts, func(i int) bool { return answered(&p.d.attempts[i]) })
	back = slices.DeleteFunc(back, func(i int) bool { return slices.Contains(p.d.waiting, i) })
	p.d.waiting = append(back, p.d.waiting...)
	*p = part{d: p.d, again: p.again, sought: p.sought}
}

// close closes the content.
func (p *part) close() {
	if p.content != nil {
		p.content.Close()
		p.content = nil
	}
}
