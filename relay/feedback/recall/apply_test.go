package recall

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// said is an event of one kind about the first recipient of a message.
func said(id string, kind feedback.Kind) feedback.Event {
	return feedback.Event{
		Source: feedback.SourceWebhook, Provider: "ses", ID: id, Kind: kind, Time: begins.Add(time.Minute),
		Recipient: "a@x.example",
	}
}

// effect is what an event leads to.
func effect(m *relay.Message, e *feedback.Event, state feedback.State, weak bool) *Effect {
	kind := map[feedback.State]relay.EventKind{
		feedback.StateRetrying: relay.EventRetrying, feedback.StateDelivered: relay.EventDelivered,
		feedback.StateBounced: relay.EventBounced, feedback.StateComplained: relay.EventComplained,
	}[state]
	f := &Effect{Message: m.ID, State: state, Weak: weak, Told: feedback.Told{
		Kind: kind,
		Attempt: relay.Attempt{Time: e.Time, Upstream: "default", Stage: diagnose.StageRemote,
			Reply: diagnose.ParseReply("550 5.1.1 unknown")},
		Diagnosis: &diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: "user_unknown"},
		Feedback:  relay.Feedback{EventID: e.ID, ReportedAt: begins.Add(2 * time.Minute)},
	}}
	if state == feedback.StateBounced && !weak {
		f.Notice = &relay.Notice{Message: m.ID, Kind: relay.NoticeFailed, Due: begins.Add(time.Minute)}
	}
	return f
}

// tell lets an event come and have its effect.
func (b *box) tell(m *relay.Message, id string, state feedback.State, weak bool) Outcome {
	b.t.Helper()
	e := said(id, feedback.Kind(state))
	return b.apply(Change{Report: b.event(e), Effect: effect(m, &e, state, weak)})[0]
}

// of is what is remembered of a message.
func (b *box) of(m *relay.Message) feedback.Remembered {
	b.t.Helper()
	found, err := b.Remembered(b.t.Context(), m.ID)
	if err != nil || len(found) != 1 {
		b.t.Fatalf("remembered %v, %v", found, err)
	}
	return found[0]
}

// owed is how many notices are owed.
func (b *box) owed() (n int) {
	b.t.Helper()
	claims, _, err := b.Claim(b.t.Context(), relay.ClaimQuery{
		Topic: relay.TopicReport, Now: begins.Add(time.Hour), Max: 100, For: time.Minute,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range claims {
		n += len(c.Entries)
		b.GiveBack(c.Token)
	}
	return n
}

// TestStates: a recipient's state goes forward only, the first failure wins, and each thing happens once.
func TestStates(t *testing.T) {
	const (
		retrying, delivered = feedback.StateRetrying, feedback.StateDelivered
		bounced, complained = feedback.StateBounced, feedback.StateComplained
	)
	type step struct {
		state feedback.State
		weak  bool
		want  Outcome
	}
	for _, tt := range []struct {
		name  string
		steps []step
		state feedback.State
		owed  int
	}{
		{"bounced", []step{{bounced, false, OutcomeOwed}}, bounced, 1},
		{"bounced after delivered",
			[]step{{delivered, false, OutcomeTold}, {bounced, false, OutcomeOwed}}, bounced, 1},
		{"delivered after bounced",
			[]step{{bounced, false, OutcomeOwed}, {delivered, false, OutcomeTold}}, bounced, 1},
		{"bounced twice",
			[]step{{bounced, false, OutcomeOwed}, {bounced, false, OutcomeDuplicate}}, bounced, 1},
		{"delivered twice after bounced", []step{{bounced, false, OutcomeOwed},
			{delivered, false, OutcomeTold}, {delivered, false, OutcomeDuplicate}}, bounced, 1},
		{"all", []step{{retrying, false, OutcomeTold}, {delivered, false, OutcomeTold},
			{bounced, false, OutcomeOwed}, {complained, false, OutcomeTold}}, complained, 1},
		{"bounced after complained",
			[]step{{complained, false, OutcomeTold}, {bounced, false, OutcomeTold}}, complained, 0},
		{"weak alone", []step{{bounced, true, OutcomeTold}, {bounced, true, OutcomeDuplicate}},
			feedback.StateRelayed, 0},
		{"weak first", []step{{bounced, true, OutcomeTold}, {bounced, false, OutcomeOwed}}, bounced, 1},
		{"weak later", []step{{bounced, false, OutcomeOwed}, {bounced, true, OutcomeDuplicate}}, bounced, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBox(t)
			m := mail(1, begins, "a@x.example")
			b.remember(m)
			for i, s := range tt.steps {
				b.reopen() // each step is durable
				if got := b.tell(m, fmt.Sprint("e", i), s.state, s.weak); got != s.want {
					t.Errorf("step %d, %s: %s, want %s", i, s.state, got, s.want)
				}
			}
			if got := b.of(m).States[0]; got != tt.state {
				t.Errorf("the state is %s, want %s", got, tt.state)
			}
			if n := b.owed(); n != tt.owed {
				t.Errorf("%d notices are owed, want %d", n, tt.owed)
			}
			if n := b.Stat().Waiting; n != 0 {
				t.Errorf("%d reports wait", n)
			}
		})
	}
}

// TestRetries: a retry is told each time that it happens, but once whatever comes how often.
func TestRetries(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "a@x.example")
	b.remember(m)
	at := func(id string, at time.Time) Outcome {
		e := said(id, feedback.KindRetrying)
		e.Time = at
		return b.apply(Change{Report: b.event(e), Effect: effect(m, &e, feedback.StateRetrying, false)})[0]
	}
	for i, tt := range []struct {
		id   string
		at   time.Time
		want Outcome
	}{
		{"a", begins, OutcomeTold},
		{"a", begins, OutcomeDuplicate},
		{"of another source", begins.Add(time.Millisecond), OutcomeDuplicate},
		{"b", begins.Add(time.Hour), OutcomeTold},
	} {
		if got := at(tt.id, tt.at); got != tt.want {
			t.Errorf("%d: %s, want %s", i, got, tt.want)
		}
	}
	var more []feedback.Event
	for i := range 2 * toldMost {
		e := said(fmt.Sprint("more", i), feedback.KindRetrying)
		e.Time = begins.Add(time.Duration(i+2) * time.Hour)
		more = append(more, e)
	}
	var changes []Change
	for i, r := range b.events(more...) {
		f := effect(m, &more[i], feedback.StateRetrying, false)
		changes = append(changes, Change{Report: r, Effect: f})
	}
	b.apply(changes...)
	if n := len(b.of(m).Told); n != toldMost {
		t.Errorf("%d things are told of one message, want at most %d", n, toldMost)
	}
}

// TestShuffled: what comes 46 times, in any order and from two sources, is told once.
func TestShuffled(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "a@x.example")
	b.remember(m)
	var events []feedback.Event
	for range 46 {
		for _, kind := range []feedback.Kind{
			feedback.KindRetrying, feedback.KindDelivered, feedback.KindBounced, feedback.KindComplained,
		} {
			events = append(events, said("w-"+string(kind), kind))
			mailed := said("m-"+string(kind), kind)
			mailed.Source, mailed.Provider = feedback.SourceDSN, "mx.example"
			events = append(events, mailed)
		}
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	rnd.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for part := range slices.Chunk(events, 20) {
		var changes []Change
		for i, r := range b.events(part...) {
			changes = append(changes, Change{Report: r,
				Effect: effect(m, &part[i], feedback.State(part[i].Kind), false)})
		}
		b.apply(changes...)
	}
	kinds := map[relay.EventKind]int{}
	for _, told := range b.of(m).Told {
		kinds[told.Kind]++
	}
	for kind, n := range kinds {
		if n != 1 {
			t.Errorf("%s was told %d times", kind, n)
		}
	}
	if len(kinds) != 4 {
		t.Errorf("told %v, want four kinds", kinds)
	}
}

// TestEventIsNamedByAll: an id is one of its provider's and its source's: a mail may claim any.
func TestEventIsNamedByAll(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "a@x.example")
	b.remember(m)
	mailed, other, hooked := said("1", feedback.KindDelivered), said("1", feedback.KindComplained),
		said("1", feedback.KindBounced)
	mailed.Source, other.Provider = feedback.SourceDSN, "postmark"
	for _, e := range []feedback.Event{mailed, other, hooked} {
		got := b.apply(Change{Report: b.event(e), Effect: effect(m, &e, feedback.State(e.Kind), false)})
		if got[0] == OutcomeDuplicate {
			t.Errorf("%s of %s is taken for another one", e.Kind, e.Provider)
		}
	}
	if n := len(b.of(m).Told); n != 3 {
		t.Errorf("%d things are told", n)
	}
}

// TestToldInFull: what was told comes back as it was.
func TestToldInFull(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "a@x.example", "b@x.example")
	b.remember(m)
	e := said("e", feedback.KindBounced)
	f := effect(m, &e, feedback.StateBounced, false)
	f.Told.Recipient, f.Told.Attempt.Reply = 1, diagnose.ParseReply("550-5.1.1 caf\xe9\r\n550 gone\r\n")
	f.Told.Note = "a note"
	f.Notice.Recipient = 1
	b.apply(Change{Report: b.event(e), Effect: f})
	b.reopen()
	got := b.of(m)
	if len(got.Told) != 1 ||
		!slices.Equal(got.States, []feedback.State{feedback.StateRelayed, feedback.StateBounced}) {
		t.Fatalf("remembered %+v", got)
	}
	told := got.Told[0]
	if told.Recipient != 1 || told.Attempt.Reply.Raw != f.Told.Attempt.Reply.Raw || told.Note != "a note" ||
		told.Diagnosis == nil || told.Diagnosis.Reason != "user_unknown" || told.Feedback.EventID != "e" {
		t.Errorf("told %+v", told)
	}
	ev := told.Event(got.Message)
	if ev.To != "b@x.example" || ev.ID != m.ID || ev.Tried == nil || ev.Feedback == nil ||
		ev.Note != "a note" || !ev.Time.Equal(told.Feedback.ReportedAt) {
		t.Errorf("event %+v", ev)
	}
	if got.Message.Subject != m.Subject || !slices.Equal(got.Message.DKIM, m.DKIM) ||
		!got.Message.Arrived.Equal(m.Arrived) || got.Message.Client.Name != "web" {
		t.Errorf("message %+v", got.Message)
	}
}

// TestForgottenMessage: an event whose message goes while it is being worked on waits.
func TestForgottenMessage(t *testing.T) {
	b := newBox(t)
	e := said("e", feedback.KindBounced)
	m := mail(1, begins, "a@x.example")
	f := effect(m, &e, feedback.StateBounced, false)
	if got := b.apply(Change{Report: b.event(e), Effect: f}); got[0] != OutcomeForgotten {
		t.Errorf("%s, want forgotten", got[0])
	}
	if n := b.Stat().Waiting; n != 1 {
		t.Errorf("%d reports wait, want the one", n)
	}
}

// TestPartOfAReport: events have their effect out of a report that stays; one whose message is just forgotten
// waits on its own.
func TestPartOfAReport(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "a@x.example")
	b.remember(m)
	raw := &feedback.Raw{Source: "hook", Provider: "ses", Time: begins}
	if err := b.Append(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	report := b.due()[0]
	part := func(of *relay.Message, id string) Change {
		e, r := said(id, feedback.KindBounced), report
		r.Raw, r.Event = nil, &e
		return Change{Report: r, Effect: effect(of, &e, feedback.StateBounced, false), Part: true}
	}
	gone := mail(2, begins, "a@x.example")
	got := b.apply(part(m, "e"), part(m, "e"), part(gone, "f"), Change{Report: report})
	want := []Outcome{OutcomeOwed, OutcomeDuplicate, OutcomeForgotten, OutcomeStored}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	left := b.due()
	if len(left) != 1 || left[0].Event == nil || left[0].Event.ID != "f" || b.Stat().Waiting != 1 {
		t.Errorf("%+v is left, %d wait", left, b.Stat().Waiting)
	}
	if n := b.owed(); n != 1 {
		t.Errorf("%d notices are owed", n)
	}
}
