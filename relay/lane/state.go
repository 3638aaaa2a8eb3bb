package lane

import (
	"maps"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// slowness is why and since when a lane sends less than it is configured to.
type slowness struct {
	refusal
	since    time.Time
	reported bool // to the operator
}

// publish makes the lane's state visible.
func (l *Lane) publish() {
	o := &l.outage
	st := relay.LaneState{Name: l.o.Name, Limit: l.pace.limit, Rate: l.pace.rate}
	switch {
	case o.paused || o.canary && o.reported:
		st.Paused, st.Since, st.NextProbe = true, o.since, o.nextProbe
		st.Diagnosis, st.Reply = o.meaning, o.reply
	case l.ordered.by != nil:
		st.Slowed, st.Since = true, l.ordered.since
		st.Diagnosis, st.Reply = l.ordered.why.meaning, saidIn(l.ordered.why.tried)
	case l.pace.lowered() && !l.slowness.since.IsZero():
		st.Slowed, st.Since = true, l.slowness.since
		st.Diagnosis, st.Reply = l.slowness.meaning, saidIn(l.slowness.tried)
	}
	if !st.Paused {
		st.Senders = l.senders.list()
	}
	if !l.state.Load().Equal(&st) {
		changed := st // so that only a change costs an allocation
		l.state.Store(&changed)
	}
}

// list is the paused senders by name, nil when there are none.
func (p *pausedSenders) list() []relay.SenderPaused {
	if len(p.paused) == 0 {
		return nil
	}
	if p.shown != nil {
		return p.shown
	}
	list := make([]relay.SenderPaused, 0, len(p.paused))
	for _, name := range slices.Sorted(maps.Keys(p.paused)) {
		s := p.paused[name]
		list = append(list,
			relay.SenderPaused{Sender: name, Since: s.since, NextProbe: s.until, Diagnosis: s.meaning})
	}
	p.shown = list
	return list
}

// saidIn is the reply to an attempt, or its error, on one line and cut for people; "" for a nil attempt.
func saidIn(a *relay.Attempt) string {
	if a == nil {
		return ""
	}
	said := a.Reply.Raw
	if said == "" {
		said = a.NetErr.Text
	}
	return cut(strings.Join(strings.Fields(said), " "), 512)
}

// reportEvery is how often the same state for the same reason is reported to the operator at most.
const reportEvery = time.Hour

// maxReported is how many reported states are remembered; beyond it all are forgotten.
const maxReported = 512

// shouldReport reports whether to tell the operator of a state of the lane, which many messages may meet, and
// notes that it is reported.
func (l *Lane) shouldReport(state string, d *diagnose.Diagnosis, now time.Time) bool {
	what := state + " " + string(d.Reason)
	last, before := l.reported[what]
	if since := now.Sub(last); before && since >= 0 && since < reportEvery {
		return false
	}
	if len(l.reported) >= maxReported {
		clear(l.reported)
	}
	l.reported[what] = now
	return true
}

// event records a change of the lane's state in the delivery log and in the operational log.
func (l *Lane) event(state string, d *diagnose.Diagnosis, a *relay.Attempt, note string) {
	l.eventBy("", state, d, a, note)
}

// eventBy is event for what a policy orders; "" when none does.
func (l *Lane) eventBy(policy, state string, d *diagnose.Diagnosis, a *relay.Attempt, note string) {
	e := relay.LaneEvent(l.o.Name, state, a, d, l.outage.nextProbe, note, l.o.Now())
	e.Policy = policy
	l.o.Record.Record(e)
	attrs := []any{"upstream", l.o.Name, "note", note}
	if d == nil {
		l.o.Log.Info("upstream "+state, attrs...)
		return
	}
	attrs = append(attrs, "reason", string(d.Reason), "cause", d.Cause)
	if len(d.Fix) > 0 {
		attrs = append(attrs, "fix", d.Fix[0])
	}
	if said := saidIn(a); said != "" {
		attrs = append(attrs, "reply", said)
	}
	if !l.outage.nextProbe.IsZero() {
		attrs = append(attrs, "next_probe", l.outage.nextProbe.UTC().Format(time.RFC3339))
	}
	l.o.Log.Warn("upstream "+state, attrs...)
}
