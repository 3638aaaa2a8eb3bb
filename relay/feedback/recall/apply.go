package recall

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// Change is what becomes of a report. At most one of Events, Effect, Keep and Later is set; none of them: the
// report has nothing to say, and goes.
type Change struct {
	Report Report

	Events []feedback.Event // it was read: these wait in its place. With Keep, it could be read in part only
	Effect *Effect          // it is matched
	Keep   State            // it can have no effect, and is kept for a while
	Later  time.Time        // it is looked at again
	Why    string           // of Keep and Later
	// Part says that Effect is of one event of a report that is still there as it came, and stays.
	Part bool
	// Recorded notes that a report that is kept was handed to the recorders, so that it is not again when it
	// is replayed in vain.
	Recorded bool
}

// Effect is what an event leads to.
type Effect struct {
	Message string // queue id
	Told    feedback.Told
	State   feedback.State // that the recipient comes to
	// Weak says that the event proves too little to change the recipient's state: it is only told.
	Weak bool
	// Notice is owed if the recipient comes to State by this event; nil: none is.
	Notice *relay.Notice
	// Owed are entries that are owed if the event is told, whatever state the recipient comes to.
	Owed []relay.Entry
}

// Outcome is what a change did.
type Outcome string

// The outcomes. All but Told are of no consequence for anybody.
const (
	OutcomeStored    Outcome = "stored"    // the change is no effect
	OutcomeTold      Outcome = "told"      // the effect was had
	OutcomeOwed      Outcome = "owed"      // ... and a notice is owed
	OutcomeDuplicate Outcome = "duplicate" // it was told before
	OutcomeForgotten Outcome = "forgotten" // the message is not remembered any more; the report waits
)

// Apply makes changes, durably and as one transaction, in their order. Done again it does nothing.
func (s *Store) Apply(ctx context.Context, changes []Change) ([]Outcome, error) {
	now := s.o.Now()
	var outcomes []Outcome
	err := s.w.write(ctx, func(t *tx) error {
		outcomes = make([]Outcome, len(changes))
		for i := range changes {
			var err error
			if outcomes[i], err = t.apply(&changes[i], now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// apply makes a change.
func (t *tx) apply(ch *Change, now time.Time) (Outcome, error) {
	if ch.Part {
		return t.effect(ch, now)
	}
	_, there, err := t.Integer("SELECT 1 FROM report WHERE seq=?", ch.Report.ID)
	switch {
	case err != nil:
		return "", err
	case !there:
		return OutcomeDuplicate, nil // it was done before
	case ch.Effect != nil:
		return t.effect(ch, now)
	case !ch.Later.IsZero():
		return OutcomeStored, t.later(ch.Report.ID, ch.Later, ch.Why)
	}
	for i := range ch.Events {
		if err := t.addEvent(&ch.Report, &ch.Events[i]); err != nil {
			return "", err
		}
	}
	if ch.Keep != "" {
		return OutcomeStored, t.keep(ch)
	}
	return OutcomeStored, t.remove(ch.Report.ID)
}

// addEvent lets an event of a report wait.
func (t *tx) addEvent(of *Report, e *feedback.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return t.addReport("INSERT INTO report (key, state, came, due, source, provider, body)"+
		" VALUES (?,'waiting',?,0,?,?,?)", len(body), eventKey(e), nanos(of.Came), of.Source,
		of.Provider, body)
}

// later lets a report wait.
func (t *tx) later(id int64, due time.Time, why string) error {
	_, err := t.Exec("UPDATE report SET due=?, tries=tries+1, why=? WHERE seq=?", nanos(due), why, id)
	return err
}

// keep keeps a report that can have no effect.
func (t *tx) keep(ch *Change) error {
	recorded := int64(0)
	if ch.Recorded || ch.Report.Recorded {
		recorded = 1
	}
	n, err := t.Exec("UPDATE report SET state=?, due=NULL, why=?, recorded=? WHERE seq=? AND state='waiting'",
		string(ch.Keep), ch.Why, recorded, ch.Report.ID)
	t.n.waiting -= n
	return err
}

// remove removes a report.
func (t *tx) remove(id int64) error {
	_, err := t.dropReports("?", id)
	return err
}

// effect lets an event have its effect.
func (t *tx) effect(ch *Change, now time.Time) (Outcome, error) {
	f := ch.Effect
	k, ok, err := t.knownOf(f)
	if err != nil {
		return "", err
	}
	if !ok && ch.Part {
		return OutcomeForgotten, t.addEvent(&ch.Report, ch.Report.Event)
	}
	if !ok {
		return OutcomeForgotten, t.later(ch.Report.ID, now.Add(time.Minute), "the message was just forgotten")
	}
	result, err := t.tell(&k, eventKey(ch.Report.Event), f)
	if err != nil || ch.Part {
		return result, err
	}
	return result, t.remove(ch.Report.ID)
}

// toldMost is how much is told of one message.
const toldMost = 200

// known is what is known of a message and a recipient of it.
type known struct {
	message int64
	told    bool // something was told of the message
	outcome outcome
}

// knownOf reads what is known of the recipient of an event; ok is false if the message is not remembered.
func (t *tx) knownOf(f *Effect) (k known, ok bool, err error) {
	err = t.Query(func(row []driver.Value) error {
		ok = true
		k.message, _ = row[0].(int64)
		k.told = row[1] == int64(1)
		state, _ := row[2].(string) // NULL: nothing was told of this recipient
		kinds, _ := row[3].(string)
		k.outcome = outcome{feedback.State(state), strings.Fields(kinds)}
		return nil
	}, "SELECT m.seq, EXISTS (SELECT 1 FROM outcome WHERE message=m.seq), o.state, o.kinds FROM message m"+
		" LEFT JOIN outcome o ON o.message=m.seq AND o.recipient=? WHERE m.id=?", int64(f.Told.Recipient),
		f.Message)
	return k, ok, err
}

// tell tells what an event says of a recipient, unless it was told before, and moves the recipient's state.
func (t *tx) tell(k *known, key []byte, f *Effect) (Outcome, error) {
	message, o, n := k.message, &k.outcome, int64(0)
	if k.told {
		told, before, err := t.toldBefore(message, key, f)
		if err != nil || told || o.told(f) {
			return OutcomeDuplicate, err
		}
		n = before
	}
	body, err := json.Marshal(&f.Told)
	if err != nil {
		return "", err
	}
	_, err = t.Exec("INSERT INTO told (message, key, n, recipient, state, second, body)"+
		" VALUES (?,?,?,?,?,?,?)", message, key, n+1, int64(f.Told.Recipient), string(f.State),
		f.Told.Attempt.Time.Unix(), body)
	if err != nil {
		return "", err
	}
	moved := o.tell(f)
	_, err = t.Exec("INSERT INTO outcome (message, recipient, state, kinds) VALUES (?1,?2,?3,?4)"+
		" ON CONFLICT DO UPDATE SET state=?3, kinds=?4", message, int64(f.Told.Recipient), string(o.state),
		strings.Join(o.kinds, " "))
	for _, e := range f.Owed {
		if err == nil {
			err = t.owe(message, e, body)
		}
	}
	if err != nil || !moved || f.Notice == nil {
		return OutcomeTold, err
	}
	return OutcomeOwed, t.owe(message, f.Notice.Entry(), body)
}

// owe adds an entry to the outbox; told is what it is owed for.
func (t *tx) owe(message int64, e relay.Entry, told []byte) error {
	_, err := t.Exec("INSERT INTO owed (message, topic, key, due, payload, told) VALUES (?,?,?,?,?,?)"+
		" ON CONFLICT DO NOTHING", message, string(e.Topic), e.Key, nanos(e.Due), payload(e), told)
	return err
}

// toldBefore reports whether an event was told of the message, or says what was told already: that a
// recipient is being retried, at the same second. n is how much was told of the message; of one of which too
// much was told, retries are told no more.
func (t *tx) toldBefore(message int64, key []byte, f *Effect) (before bool, n int64, err error) {
	var same, second bool
	err = t.Query(func(row []driver.Value) error {
		n, _ = row[0].(int64)
		same, second = row[1] == int64(1), row[2] == int64(1)
		return nil
	}, "SELECT max(n), max(key=?), max(recipient=? AND state=? AND second=?) FROM told WHERE message=?", key,
		int64(f.Told.Recipient), string(f.State), f.Told.Attempt.Time.Unix(), message)
	retrying := f.State == feedback.StateRetrying
	return same || retrying && (second || n >= toldMost), n, err
}

// outcome is what is known of a recipient.
type outcome struct {
	state feedback.State
	kinds []string // the kinds of what was told; with weakMark in front, of what proves too little
}

const weakMark = "?"

// told reports whether what an event says was told before, by another one that proves as much. A retry may be
// told many times; all else happens to a recipient once.
func (o *outcome) told(f *Effect) bool {
	kind := string(f.State)
	return f.State != feedback.StateRetrying &&
		(slices.Contains(o.kinds, kind) || f.Weak && slices.Contains(o.kinds, weakMark+kind))
}

// tell notes what an event says, and reports whether it moves the recipient's state.
func (o *outcome) tell(f *Effect) (moved bool) {
	kind := string(f.State)
	if f.Weak {
		kind = weakMark + kind
	}
	if !slices.Contains(o.kinds, kind) {
		o.kinds = append(o.kinds, kind)
	}
	if moved = !f.Weak && o.state.Before(f.State); moved {
		o.state = f.State
	}
	return moved
}
