package relay

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
)

// LaneState is how a lane stands, for people and for the reporter. At most one of Paused and Slowed is set;
// Since, Diagnosis and Reply are then of that.
type LaneState struct {
	Name      string
	Paused    bool      // nothing is sent but what tries whether the upstream takes mail again
	Slowed    bool      // less is sent than the configuration allows, because the upstream asked for it
	Since     time.Time // of the pause, or of the slowness
	NextProbe time.Time // of a pause: when it is tried again, unless mail waits for a later time
	Diagnosis *diagnose.Diagnosis
	Reply     string         // the upstream's words, or the error, that led to it; cut at 512 bytes
	Limit     int            // connections in use at most, now
	Rate      float64        // messages a second at most, now; 0 is no bound
	Senders   []SenderPaused // whose mail waits while that of others goes on; by name, and nobody while Paused
}

// SenderPaused is a sender whose mail waits for a limit of its own.
type SenderPaused struct {
	Sender    string              `json:"sender"` // "<>" is the null sender
	Since     time.Time           `json:"since"`
	NextProbe time.Time           `json:"next_probe"` // when a message of it is tried
	Diagnosis *diagnose.Diagnosis `json:"diagnosis,omitempty"`
}

// laneStateJSON is the JSON form of a LaneState.
type laneStateJSON struct {
	Name      string              `json:"name"`
	Paused    bool                `json:"paused"`
	Slowed    bool                `json:"slowed,omitempty"`
	Since     time.Time           `json:"since,omitzero"`
	NextProbe time.Time           `json:"next_probe,omitzero"`
	Diagnosis *diagnose.Diagnosis `json:"diagnosis,omitempty"`
	Reply     string              `json:"reply,omitempty"`
	Limit     int                 `json:"limit"`
	Rate      float64             `json:"rate,omitempty"`
	Senders   []SenderPaused      `json:"senders,omitempty"`
}

// MarshalJSON writes s for people and scripts: the rate as RoundRate has it.
func (s LaneState) MarshalJSON() ([]byte, error) {
	out := laneStateJSON(s)
	out.Rate = RoundRate(s.Rate)
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *LaneState) UnmarshalJSON(b []byte) error {
	var in laneStateJSON
	err := json.Unmarshal(b, &in)
	*s = LaneState(in)
	return err
}

// What a message waits for, beyond its own next attempt.
const (
	WaitsForUpstream = "upstream_paused" // the lane is paused
	WaitsForSender   = "sender_paused"   // its sender is
)

// NextTry is when a message from this envelope sender, whose own next attempt is due, is really tried as far
// as is known now, and what it waits for until then: WaitsForUpstream, WaitsForSender, or "" when for its own
// time only.
func (s *LaneState) NextTry(from string, due time.Time) (next time.Time, waitsFor string) {
	if s.Paused {
		return later(due, s.NextProbe), WaitsForUpstream
	}
	for i := range s.Senders {
		if p := &s.Senders[i]; p.Sender == senderName(from) {
			return later(due, p.NextProbe), WaitsForSender
		}
	}
	return due, ""
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// RoundRate rounds a rate as it is shown: to hundredths, and one below 1 to two significant digits.
func RoundRate(r float64) float64 {
	if r >= 1 {
		return math.Round(r*100) / 100
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(r, 'g', 2, 64), 64)
	return rounded
}

// slowness is why and since when a lane sends less than it may.
type slowness struct {
	refusal
	since time.Time
	told  bool // that it is so
}

// publish makes the lane's state visible.
func (l *Lane) publish() {
	t := &l.trouble
	st := LaneState{Name: l.o.Name, Limit: l.pace.limit, Rate: l.pace.rate}
	switch {
	case t.paused || t.trial && t.told:
		st.Paused, st.Since, st.NextProbe = true, t.since, t.nextProbe
		st.Diagnosis, st.Reply = t.meaning, t.reply
	case l.pace.lowered() && !l.slowness.since.IsZero():
		st.Slowed, st.Since = true, l.slowness.since
		st.Diagnosis, st.Reply = l.slowness.meaning, saidIn(l.slowness.tried)
	}
	if !st.Paused {
		st.Senders = l.senders.list()
	}
	if !l.state.Load().same(&st) {
		changed := st // so that only a change costs an allocation
		l.state.Store(&changed)
	}
}

// same reports whether two states are equal.
func (s *LaneState) same(o *LaneState) bool {
	return s.Name == o.Name && s.Paused == o.Paused && s.Slowed == o.Slowed && s.Since.Equal(o.Since) &&
		s.NextProbe.Equal(o.NextProbe) && s.Diagnosis == o.Diagnosis && s.Reply == o.Reply && s.Limit == o.Limit &&
		s.Rate == o.Rate && slices.Equal(s.Senders, o.Senders)
}

// list is the paused senders by name, nil when there are none.
func (p *pausedSenders) list() []SenderPaused {
	if len(p.paused) == 0 {
		return nil
	}
	if p.shown != nil {
		return p.shown
	}
	list := make([]SenderPaused, 0, len(p.paused))
	for _, name := range slices.Sorted(maps.Keys(p.paused)) {
		s := p.paused[name]
		list = append(list, SenderPaused{Sender: name, Since: s.since, NextProbe: s.until, Diagnosis: s.meaning})
	}
	p.shown = list
	return list
}

// saidIn is what an attempt was answered, on one line and cut for people; "" for none.
func saidIn(a *Attempt) string {
	if a == nil {
		return ""
	}
	said := a.Reply.Raw
	if said == "" {
		said = a.NetErr.Text
	}
	return cut(strings.Join(strings.Fields(said), " "), 512)
}

// tellAgain is how long the operator is not told again of the same state for the same reason.
const tellAgain = time.Hour

// maxTold is how many states are remembered as told; beyond it all are forgotten.
const maxTold = 512

// tell reports whether the operator is to be told that the lane is in a state that many messages meet.
func (l *Lane) tell(state string, d *diagnose.Diagnosis, now time.Time) bool {
	what := state + " " + string(d.Reason)
	last, before := l.told[what]
	if since := now.Sub(last); before && since >= 0 && since < tellAgain {
		return false
	}
	if len(l.told) >= maxTold {
		clear(l.told)
	}
	l.told[what] = now
	return true
}

// event records a change of the lane itself in the delivery log and in the operational log.
func (l *Lane) event(state string, d *diagnose.Diagnosis, a *Attempt, note string) {
	l.o.Record.Record(Event{
		Time: l.o.Now(), Kind: EventLane, Lane: l.o.Name, State: state, Diagnosis: d, Tried: a, Note: note,
		NextAttempt: l.trouble.nextProbe,
	})
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
	if !l.trouble.nextProbe.IsZero() {
		attrs = append(attrs, "next_probe", l.trouble.nextProbe.UTC().Format(time.RFC3339))
	}
	l.o.Log.Warn("upstream "+state, attrs...)
}
