package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// delivery is one relay.Transaction in progress, as one call or several.
type delivery struct {
	u        *Upstream
	t        *relay.Transaction
	attempts []relay.Attempt // one per recipient; open while it has no Stage
	began    time.Time       // of the latest call
	fault    *relay.Attempt  // why the open ones stay open
	err      error           // the same, if the content could not be read
}

// result is the outcome of the delivery.
func (d *delivery) result() relay.Result {
	answered := slices.ContainsFunc(d.attempts, func(a relay.Attempt) bool { return a.Stage != "" })
	taken := slices.ContainsFunc(d.attempts,
		func(a relay.Attempt) bool { return a.Accepted() || a.Uncertain })
	rest := d.fault
	switch {
	case d.err != nil && !taken:
		return relay.Result{Err: d.err}
	case d.err != nil:
		rest = &relay.Attempt{Time: d.began, Stage: diagnose.StageQueue, NetErr: unread(d.err)}
	case d.fault != nil && !answered:
		return relay.Result{Fault: d.fault}
	}
	for i := range d.attempts {
		if d.attempts[i].Stage == "" && rest != nil {
			d.attempts[i] = *rest
		}
	}
	return relay.Result{Attempts: d.attempts}
}

// settle gives a to the recipients of a part.
func (d *delivery) settle(part []int, a relay.Attempt) {
	for _, i := range part {
		d.attempts[i] = a
	}
}

// run makes the calls. It returns false after a fault.
func (d *delivery) run(ctx context.Context) (sound bool) {
	if ctx.Err() != nil {
		d.fault = d.u.attempt(d.began, &Failure{Stage: diagnose.StageConnect,
			NetErr: diagnose.NetErr{Kind: diagnose.NetCanceled, Text: "the relay stops"}})
		return false
	}
	all := make([]int, len(d.attempts))
	for i := range all {
		all[i] = i
	}
	if r := d.admit(); r != nil {
		d.settle(all, *d.u.attempt(d.began, r))
		return true
	}
	ctx, cancel := d.u.graced(ctx)
	defer cancel()
	parts := slices.Collect(slices.Chunk(all, d.u.o.RcptMax))
	for len(parts) > 0 && d.err == nil && d.fault == nil {
		part := parts[0]
		parts = parts[1:]
		if d.call(ctx, part) {
			half := len(part) / 2
			parts = append([][]int{part[:half], part[half:]}, parts...)
		}
	}
	return d.fault == nil
}

// admit is why the mail cannot be sent through the API, as far as that is known without it.
func (d *delivery) admit() *Outcome {
	m, limit := d.t.Message, d.u.o.Size
	if m.Size > limit {
		return &Outcome{Kind: diagnose.NetSizeExceeded, Stage: diagnose.StageQueue,
			Text: fmt.Sprintf("the message has %d bytes, the API accepts at most %d", m.Size, limit)}
	}
	if d.t.From == "" {
		return &Outcome{Stage: diagnose.StageMail, Class: 5, Reason: "mail_refused",
			Text: "the API sends no mail with the null sender; the relay's bounces need " +
				"dsn.fallback_sender, other mail a sender"}
	}
	for _, i := range d.t.Recipients {
		if !ascii(m.Recipients[i].Address) || !ascii(d.t.From) {
			return &Outcome{Kind: diagnose.NetUTF8Unavailable, Stage: diagnose.StageQueue,
				Text: "the message needs SMTPUTF8, which the API does not offer"}
		}
	}
	return nil
}

// ascii reports whether s is ASCII.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// call makes one call for the recipients of a part. It reports whether the part must be made two, because
// the call was refused for one of its recipients.
func (d *delivery) call(ctx context.Context, part []int) (halve bool) {
	m := &Mail{From: d.t.From, Open: d.t.Open}
	for _, i := range part {
		m.To = append(m.To, d.t.Message.Recipients[d.t.Recipients[i]].Address)
	}
	a, err := d.try(ctx, m)
	if o, ok := errors.AsType[*Outcome](err); ok && o.Fault && o.Stage == diagnose.StageAuth &&
		d.u.provider.Renew() {
		a, err = d.try(ctx, m)
	}
	if err == nil {
		d.settle(part, *a)
		return false
	}
	return d.refuse(part, err)
}

// refuse takes note of a call that did not send the mail. halve is as in call.
func (d *delivery) refuse(part []int, err error) (halve bool) {
	a := d.u.attempt(d.began, err)
	outcome, answered := errors.AsType[*Outcome](err)
	failure, failed := errors.AsType[*Failure](err)
	switch {
	case answered && outcome.Stage == diagnose.StageRcpt && outcome.Class == 5 && len(part) > 1:
		return true
	case answered && outcome.Fault, failed && before(failure.Stage):
		d.fault = a
	case failed && failure.Content != nil:
		d.err = failure.Content
	case answered, failed:
		d.settle(part, *a)
	default:
		d.err = err
	}
	return false
}

// before reports whether a call ended before anything of it was written.
func before(s diagnose.Stage) bool { return s == diagnose.StageConnect || s == diagnose.StageTLS }

// try makes a call once. a is the attempt if the mail was taken.
func (d *delivery) try(ctx context.Context, m *Mail) (a *relay.Attempt, err error) {
	u := d.u
	d.began = u.o.Now()
	r, err := u.provider.Request(ctx, m)
	if err != nil {
		return nil, err
	}
	answer, err := u.client.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	o := u.provider.Read(answer)
	o.Way = answer.Way
	if o.Class != 2 {
		return nil, &o
	}
	return &relay.Attempt{Time: d.began, Duration: u.o.Now().Sub(d.began), Upstream: u.o.Name,
		Host: u.o.Endpoint.Hostname(), Remote: o.Remote, TLS: o.TLS, Stage: diagnose.StageEndOfData,
		Verdict: 2, UpstreamID: o.ID}, nil
}
