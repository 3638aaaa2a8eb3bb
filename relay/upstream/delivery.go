package upstream

import (
	"errors"
	"io"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// delivery is one relay.Transaction while it is carried out, as one SMTP transaction or, with many recipients, as
// several.
type delivery struct {
	t        *relay.Transaction
	attempts []relay.Attempt // one for each of t.Recipients; those without a Stage are open
	waiting  []int           // indexes into attempts that no transaction has taken yet
	began    time.Time       // of the latest transaction
	fault    *relay.Attempt  // why the open ones stay open
	err      error           // the same, when the content could not be read
}

func begin(t *relay.Transaction) *part {
	d := &delivery{t: t, attempts: make([]relay.Attempt, len(t.Recipients)), waiting: make([]int, len(t.Recipients))}
	for i := range d.waiting {
		d.waiting[i] = i
	}
	return &part{d: d}
}

// result is what becomes known of the delivery.
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

// unread says why a content could not be read.
func unread(err error) diagnose.NetErr {
	kind := diagnose.NetLocal
	if errors.Is(err, relay.ErrCorrupt) || errors.Is(err, relay.ErrNotFound) {
		kind = diagnose.NetCorrupt
	}
	return diagnose.NetErr{Kind: kind, Text: err.Error()}
}

// taken reports whether another attempt may double the message.
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

// open are the recipients without an attempt.
func (d *delivery) open() []int {
	var open []int
	for i := range d.attempts {
		if !answered(&d.attempts[i]) {
			open = append(open, i)
		}
	}
	return open
}

// settle gives those of the recipients at pos that are open the attempt a.
func (d *delivery) settle(pos []int, a relay.Attempt) {
	for _, i := range pos {
		if !answered(&d.attempts[i]) {
			d.attempts[i] = a
		}
	}
}

// recipient is the one at position i of the attempts.
func (d *delivery) recipient(i int) *relay.Recipient {
	return &d.t.Message.Recipients[d.t.Recipients[i]]
}

// part is one SMTP transaction of a delivery.
type part struct {
	d       *delivery
	rcpts   []int // indexes into d.attempts
	utf8    bool  // SMTPUTF8 is needed
	content io.ReadCloser
	began   time.Time
	lack    *netError // what the connection does not offer, and another may

	ready    bool // rcpts and content are there
	written  bool // the envelope is on its way
	ahead    bool // it travelled with the end of data before it
	reset    bool // RSET leads it
	again    bool // a reused connection was lost under it once
	sought   bool // a connection with more extensions was sought
	cleared  bool // RSET was given after MAIL was refused
	accepted []int
}

// rewind makes p as if it had not been begun.
func (p *part) rewind() {
	p.close()
	back := slices.DeleteFunc(p.rcpts, func(i int) bool { return answered(&p.d.attempts[i]) })
	back = slices.DeleteFunc(back, func(i int) bool { return slices.Contains(p.d.waiting, i) })
	p.d.waiting = append(back, p.d.waiting...)
	*p = part{d: p.d, again: p.again, sought: p.sought}
}

// close lets go of the content.
func (p *part) close() {
	if p.content != nil {
		p.content.Close()
		p.content = nil
	}
}
