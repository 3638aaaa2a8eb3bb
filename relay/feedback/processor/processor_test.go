package processor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
)

// TestBounced: a bounce is told with all that it says and means, and one notice is owed.
func TestBounced(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "B@x.example")
	var symptom diagnose.Symptom
	w.meaning = func(s diagnose.Symptom) diagnose.Diagnosis {
		symptom = s
		return diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: "user_unknown"}
	}
	w.comes("hook", w.bounced("e1", "b@X.example", queueID(m)))
	w.round()
	list := w.recorded(relay.EventBounced)
	if len(list) != 1 {
		t.Fatalf("recorded %+v", w.events)
	}
	e := list[0]
	if e.ID != m.ID || e.To != "B@x.example" || e.From != "app@shop.example" || e.Lane != "default" ||
		e.Tried.Reply.Code != 550 || e.Tried.Stage != diagnose.StageRemote ||
		e.Tried.Host != "mx.x.example" || e.Tried.ReportedBy != "smtp.provider.example" ||
		e.Tried.UpstreamID != "up-"+m.ID ||
		e.Diagnosis.Reason != "user_unknown" {
		t.Errorf("event %+v, tried %+v", e, e.Tried)
	}
	if f := *e.Feedback; f != (relay.Feedback{
		Source: "webhook", Provider: "ses", ProviderType: "Permanent", EventID: "e1",
		Trust: relay.TrustProven, MatchedBy: "queue_id", ReportedAt: f.ReportedAt,
	}) || !f.ReportedAt.Equal(begins) {
		t.Errorf("feedback %+v", f)
	}
	if symptom.Stage != diagnose.StageRemote || !symptom.Final || symptom.Facts.ProviderType != "Permanent" ||
		symptom.Facts.HeaderFrom != "shop.example" || symptom.Facts.EnvelopeFrom != "shop.example" {
		t.Errorf("symptom %+v", symptom)
	}
	if n := w.owed(); n != 1 {
		t.Errorf("%d notices are owed", n)
	}
	if c := w.counted[0]; c.Result != ResultMatched || c.Delay != 59*time.Minute || c.Source != "hook" {
		t.Errorf("counted %+v", c)
	}
}

// TestGrades: what is proved and matched how well, and what that allows.
func TestGrades(t *testing.T) {
	const (
		proven, likely = relay.TrustProven, relay.TrustLikely
		weak, guess    = relay.TrustWeak, relay.TrustGuess
	)
	type keysOf = func(*relay.Message) []feedback.Key
	one, two := []string{"a@x.example"}, []string{"a@x.example", "b@x.example"}
	key := func(kind feedback.KeyKind, value func(*relay.Message) string) keysOf {
		return func(m *relay.Message) []feedback.Key { return []feedback.Key{{Kind: kind, Value: value(m)}} }
	}
	id := func(m *relay.Message) string { return m.ID }
	upstream := func(m *relay.Message) string { return "up-" + m.ID }
	messageID := func(m *relay.Message) string { return m.ID + "@shop.example" }
	own := func(*relay.Message) string { return "app-1" }
	none := func(*relay.Message) []feedback.Key { return nil }
	perRecipient := func(m *relay.Message) []feedback.Key {
		return []feedback.Key{{Kind: feedback.KeyReturnPath, Value: m.ID, Recipient: "A@x.example"}}
	}
	shared := func(e *feedback.Event) { e.Shared = true }
	unnamed := func(e *feedback.Event) { e.Recipient = "" }
	forwarded := func(e *feedback.Event) { e.Recipient = "forwarded@z.example" }
	original := func(e *feedback.Event) { e.Recipient, e.Original = "forwarded@z.example", "A@x.example" }
	for _, tt := range []struct {
		name       string
		source     string
		recipients []string
		keys       keysOf
		change     func(*feedback.Event)
		want       relay.Trust // "": no match
	}{
		{"webhook, queue id", "hook", two, key(feedback.KeyQueueID, id), nil, proven},
		{"webhook, envelope id", "hook", two, key(feedback.KeyEnvelopeID, id), nil, proven},
		{"webhook, provider's id", "hook", two, key(feedback.KeyProviderID, upstream), nil, proven},
		{"webhook, Message-ID", "hook", two, key(feedback.KeyMessageID, messageID), nil, proven},
		{"webhook, shared", "hook", two, key(feedback.KeyQueueID, id), shared, weak},
		{"webhook, shared by one", "hook", one, key(feedback.KeyQueueID, id), shared, proven},
		{"webhook, no recipient", "hook", one, key(feedback.KeyQueueID, id), unnamed, proven},
		{"webhook, no recipient of two", "hook", two, key(feedback.KeyQueueID, id), unnamed, ""},
		{"webhook, another address", "hook", one, key(feedback.KeyQueueID, id), forwarded, likely},
		{"webhook, original recipient", "hook", two, key(feedback.KeyQueueID, id), original, proven},
		{"webhook, time", "hook", two, none, nil, guess},
		{"webhook, an id that was not told", "hook", two, key(feedback.KeyProviderID, own), nil, guess},
		{"webhook, another message's", "hook", two, key(feedback.KeyMessageID, own), nil, ""},
		{"mail, return path of one", "bounces", one, key(feedback.KeyReturnPath, id), nil, proven},
		{"mail, return path, another address", "bounces", one, key(feedback.KeyReturnPath, id), forwarded,
			proven},
		{"mail, return path of two", "bounces", two, key(feedback.KeyReturnPath, id), nil, likely},
		{"mail, return path for each", "bounces", two, perRecipient, unnamed, proven},
		{"mail, queue id", "bounces", two, key(feedback.KeyQueueID, id), nil, likely},
		{"mail, queue id, another address", "bounces", one, key(feedback.KeyQueueID, id), forwarded, weak},
		{"mail, envelope id", "bounces", two, key(feedback.KeyEnvelopeID, id), nil, likely},
		{"mail, the application's envelope id", "bounces", two, key(feedback.KeyEnvelopeID, own), nil, weak},
		{"mail, provider's id", "bounces", two, key(feedback.KeyProviderID, upstream), nil, weak},
		{"mail, Message-ID", "bounces", two, key(feedback.KeyMessageID, messageID), nil, weak},
		{"mail, time", "bounces", two, none, nil, guess},
		{"mail, a stranger's recipient", "bounces", two, key(feedback.KeyQueueID, id), forwarded, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.relayed(func(m *relay.Message) { m.Envelope.EnvID = "app-1" }, tt.recipients...)
			e := w.bounced("e", "A@x.example", tt.keys(m)...)
			if tt.source != "hook" {
				e.Source, e.Provider = feedback.SourceDSN, "mx.x.example"
			}
			if tt.change != nil {
				tt.change(&e)
			}
			w.comes(tt.source, e)
			w.round()
			w.pass(time.Minute)
			w.round()
			list := w.recorded(relay.EventBounced)
			got := relay.Trust("")
			if len(list) > 0 {
				got = list[0].Feedback.Trust
			}
			if got != tt.want {
				t.Errorf("trust %q, want %q", got, tt.want)
			}
			changed, owed := w.state(m) == feedback.StateBounced, w.owed()
			want := tt.want == proven || tt.want == likely
			if changed != want || (owed == 1) != want || owed > 1 {
				t.Errorf("the state is %s and %d notices are owed", w.state(m), owed)
			}
		})
	}
}

// TestKeyOrder: the strongest key decides, wherever it stands.
func TestKeyOrder(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "a@x.example")
	other := w.relayed(nil, "a@x.example")
	w.comes("hook", w.bounced("e", "a@x.example",
		feedback.Key{Kind: feedback.KeyMessageID, Value: other.ID + "@shop.example"},
		feedback.Key{Kind: feedback.KeyProviderID, Value: "up-" + other.ID}, queueID(m)))
	w.round()
	if list := w.recorded(relay.EventBounced); len(list) != 1 || list[0].ID != m.ID {
		t.Errorf("recorded %+v, want one of %s", list, m.ID)
	}
}

// TestOtherUpstream: a source tells of the mail of its own upstreams only, but for what names our queue id.
func TestOtherUpstream(t *testing.T) {
	w := newWorld(t)
	s := w.source["hook"]
	s.Lanes = []string{"ses"}
	w.source["hook"] = s
	m := w.relayed(nil, "a@x.example")
	w.comes("hook", w.bounced("e1", "a@x.example",
		feedback.Key{Kind: feedback.KeyProviderID, Value: "up-" + m.ID}))
	w.comes("hook", w.bounced("e2", "a@x.example"))
	w.rounds()
	if n := w.counts(); n[ResultUnmatched] != 2 || n[ResultMatched] != 0 {
		t.Errorf("counted %v, want two unmatched", n)
	}
	w.comes("hook", w.bounced("e3", "a@x.example", queueID(m)))
	w.round()
	if n := w.counts(); n[ResultMatched] != 1 {
		t.Errorf("counted %v, want one match", n)
	}
}

// TestGuessOnlyOne: a recipient and a time tell nothing when two messages fit.
func TestGuessOnlyOne(t *testing.T) {
	w := newWorld(t)
	w.relayed(nil, "a@x.example")
	w.relayed(nil, "a@x.example")
	w.comes("hook", w.bounced("e", "a@x.example"))
	w.rounds()
	if list := w.recorded(relay.EventBounced); len(list) != 0 {
		t.Errorf("recorded %+v", list)
	}
	if n := w.counts(); n[ResultUnmatched] != 1 {
		t.Errorf("counted %v, want one unmatched", n)
	}
}

// TestGuessBySeconds: a provider's time may have no fraction, or its clock may be behind ours.
func TestGuessBySeconds(t *testing.T) {
	for behind, want := range map[time.Duration]int{
		0: 1, time.Millisecond: 1, 4 * time.Second: 1, time.Minute: 0,
	} {
		w := newWorld(t)
		m := w.relayed(nil, "a@x.example")
		e := w.bounced("e", "a@x.example")
		e.Time = m.Recipients[0].Last.Time.Add(-behind)
		w.comes("hook", e)
		w.rounds()
		if list := w.recorded(relay.EventBounced); len(list) != want {
			t.Errorf("%s behind: recorded %+v, want %d", behind, list, want)
		}
	}
}

// TestKinds: each kind of event leads to its state, and the class of the reply decides.
func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		kind   feedback.Kind
		reply  string
		status string
		state  feedback.State
		event  relay.EventKind
		owed   int
	}{
		{"hard", feedback.KindBounced, "550 5.1.1 no", "", feedback.StateBounced, relay.EventBounced, 1},
		{"soft, given up", feedback.KindBounced, "452 4.2.2 full", "", feedback.StateBounced,
			relay.EventBounced, 1},
		{"no reply", feedback.KindBounced, "", "", feedback.StateBounced, relay.EventBounced, 1},
		{"dropped", feedback.KindDropped, "", "", feedback.StateBounced, relay.EventBounced, 1},
		{"deferred", feedback.KindRetrying, "452 4.2.2 full", "", feedback.StateRetrying,
			relay.EventRetrying, 0},
		{"deferred without a reply", feedback.KindRetrying, "", "", feedback.StateRetrying,
			relay.EventRetrying, 0},
		{"deferred after 5yz", feedback.KindRetrying, "550 5.7.1 no", "", feedback.StateBounced,
			relay.EventBounced, 1},
		{"deferred with 5.x.x", feedback.KindRetrying, "", "5.1.1", feedback.StateBounced,
			relay.EventBounced, 1},
		{"delivered", feedback.KindDelivered, "250 ok", "", feedback.StateDelivered, relay.EventDelivered, 0},
		{"complained", feedback.KindComplained, "", "", feedback.StateComplained, relay.EventComplained, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.relayed(nil, "a@x.example")
			e := w.bounced("e", "a@x.example", queueID(m))
			e.Kind, e.Reply, e.Status = tt.kind, tt.reply, tt.status
			w.comes("hook", e)
			w.round()
			list := w.recorded(tt.event)
			if len(list) != 1 || len(w.events) != 1 || w.state(m) != tt.state || w.owed() != tt.owed {
				t.Fatalf("recorded %+v, state %s, %d owed", w.events, w.state(m), w.owed())
			}
			if explained := list[0].Diagnosis != nil; explained != (tt.event != relay.EventDelivered) {
				t.Errorf("diagnosis %+v", list[0].Diagnosis)
			}
		})
	}
}

// TestLongReply: of what somebody says at length the beginning is kept.
func TestLongReply(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "a@x.example")
	e := w.bounced("e", "a@x.example", queueID(m))
	e.Reply = "550 5.1.1 " + strings.Repeat("no ", 100_000)
	w.comes("hook", e)
	w.round()
	list := w.recorded(relay.EventBounced)
	if len(list) != 1 || len(list[0].Tried.Reply.Raw) != saidMost ||
		list[0].Tried.ReplyCut != int64(len(e.Reply)-saidMost) || list[0].Tried.Reply.Code != 550 {
		t.Errorf("recorded %d events", len(list))
	}
}

// TestDeliveredIsQuiet: deliveries are recorded only where that is asked for; the state comes to them anyway.
func TestDeliveredIsQuiet(t *testing.T) {
	w := newWorld(t)
	w.settings.Delivered = false
	m := w.relayed(nil, "a@x.example")
	e := w.bounced("e", "a@x.example", queueID(m))
	e.Kind, e.Reply = feedback.KindDelivered, "250 ok"
	w.comes("hook", e)
	w.round()
	if len(w.events) != 0 || w.state(m) != feedback.StateDelivered {
		t.Errorf("recorded %+v, state %s", w.events, w.state(m))
	}
}

// TestWhoIsOwed: the setting, NOTIFY, the null sender and the way it came decide about the notice.
func TestWhoIsOwed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		source string
		notice Notice
		change func(*relay.Message)
		key    feedback.KeyKind
		owed   int
	}{
		{"auto, webhook", "hook", NoticeAuto, nil, feedback.KeyQueueID, 1},
		{"auto, own door", "bounces", NoticeAuto, nil, feedback.KeyQueueID, 1},
		{"auto, mailbox", "mailbox", NoticeAuto, nil, feedback.KeyQueueID, 0},
		{"auto, our return path in a mailbox", "mailbox", NoticeAuto, nil, feedback.KeyReturnPath, 1},
		{"always, mailbox", "mailbox", NoticeAlways, nil, feedback.KeyQueueID, 1},
		{"never", "hook", NoticeNever, nil, feedback.KeyQueueID, 0},
		{"NOTIFY=NEVER", "hook", NoticeAlways,
			func(m *relay.Message) { m.Recipients[0].Notify = relay.NotifyNever }, feedback.KeyQueueID, 0},
		{"NOTIFY=DELAY", "hook", NoticeAlways,
			func(m *relay.Message) { m.Recipients[0].Notify = relay.NotifyDelay }, feedback.KeyQueueID, 0},
		{"NOTIFY=FAILURE", "hook", NoticeAuto,
			func(m *relay.Message) { m.Recipients[0].Notify = relay.NotifyFailure }, feedback.KeyQueueID, 1},
		{"null sender", "hook", NoticeAlways, func(m *relay.Message) { m.Envelope.From = "" },
			feedback.KeyQueueID, 0},
		{"report of ours", "hook", NoticeAlways, func(m *relay.Message) { m.Report = true },
			feedback.KeyQueueID, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.settings.Notice = tt.notice
			m := w.relayed(tt.change, "a@x.example")
			w.comes(tt.source, w.bounced("e", "a@x.example", feedback.Key{Kind: tt.key, Value: m.ID}))
			w.round()
			if n := w.owed(); n != tt.owed {
				t.Errorf("%d notices are owed, want %d", n, tt.owed)
			}
			if len(w.recorded(relay.EventBounced)) != 1 {
				t.Errorf("recorded %+v", w.events)
			}
		})
	}
}

// TestOvertakes: an event that comes before its message is settled waits, and is handled then.
func TestOvertakes(t *testing.T) {
	w := newWorld(t)
	m := w.message("a@x.example")
	w.spool.messages[m.ID] = clone(m)
	w.comes("hook", w.bounced("e", "a@x.example", queueID(m)))
	w.round()
	w.pass(time.Second)
	w.round()
	if len(w.events) != 0 || w.store.Stat().Waiting != 1 {
		t.Fatalf("recorded %+v, %d wait", w.events, w.store.Stat().Waiting)
	}
	delete(w.spool.messages, m.ID)
	m.Recipients[0].State = relay.Relayed
	m.Recipients[0].Last = &relay.Attempt{Time: w.clock(), Upstream: "default"}
	w.remember(m)
	w.pass(10 * time.Second)
	w.round()
	if len(w.recorded(relay.EventBounced)) != 1 || w.owed() != 1 || w.store.Stat().Waiting != 0 {
		t.Errorf("recorded %+v, %d owed", w.events, w.owed())
	}
}

// TestAtOnce: an event that comes before its message is written finds it a second later.
func TestAtOnce(t *testing.T) {
	w := newWorld(t)
	m := relayedNow(w, w.message("a@x.example"))
	w.comes("hook", w.bounced("e", "a@x.example", queueID(m)))
	w.p.round(t.Context())
	w.store.Relayed(m)
	w.pass(time.Second)
	w.p.round(t.Context())
	if len(w.recorded(relay.EventBounced)) != 1 {
		t.Errorf("recorded %+v, %d wait", w.events, w.store.Stat().Waiting)
	}
}

// TestPartlySettled: a recipient that is relayed while others of its message wait is found in the spool, even
// if it was not remembered.
func TestPartlySettled(t *testing.T) {
	w := newWorld(t)
	m := w.message("a@x.example", "b@x.example")
	m.Recipients[0].State = relay.Relayed
	m.Recipients[0].Last = &relay.Attempt{Time: m.Arrived, Upstream: "default"}
	w.spool.messages[m.ID] = clone(m)
	w.comes("hook", w.bounced("e", "a@x.example", queueID(m)))
	w.comes("hook", w.bounced("f", "b@x.example", queueID(m)))
	w.round()
	w.pass(time.Second)
	w.round()
	if list := w.recorded(relay.EventBounced); len(list) != 1 || list[0].To != "a@x.example" {
		t.Errorf("recorded %+v", list)
	}
	if n := w.store.Stat().Waiting; n != 1 {
		t.Errorf("%d reports wait, want the one about the other recipient", n)
	}
}

// TestUncertain: an event proves that the upstream took a message whose final dot was not answered.
func TestUncertain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		source string
		key    func(*relay.Message) feedback.Key
		known  bool // the lane told of it
		settle bool
	}{
		{"queue id", "hook", queueID, true, true},
		{"queue id, not remembered", "hook", queueID, false, true},
		{"Message-ID", "hook", func(m *relay.Message) feedback.Key {
			return feedback.Key{Kind: feedback.KeyMessageID, Value: m.ID + "@shop.example"}
		}, true, true},
		{"a mail that proves too little", "bounces", func(m *relay.Message) feedback.Key {
			return feedback.Key{Kind: feedback.KeyMessageID, Value: m.ID + "@shop.example"}
		}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.message("a@x.example", "b@x.example")
			m.Recipients[0].State = relay.Deferred
			m.Recipients[0].Notify = relay.NotifySuccess | relay.NotifyFailure
			m.Recipients[0].Last = &relay.Attempt{Time: m.Arrived, Upstream: "default", Uncertain: true,
				Stage: diagnose.StageEndOfData, NetErr: diagnose.NetErr{Kind: diagnose.NetReset}}
			w.spool.messages[m.ID] = clone(m)
			if tt.known {
				w.remember(m)
			}
			w.comes(tt.source, w.bounced("e", "a@x.example", tt.key(m)))
			for range 4 {
				w.round()
				w.pass(time.Minute)
			}
			r := w.spool.messages[m.ID].Recipients
			if settled := r[0].State == relay.Relayed && r[0].Last.Stage == diagnose.StageRemote; settled !=
				tt.settle || r[1].State != relay.Queued {
				t.Fatalf("the spool has %s and %s", r[0].State, r[1].State)
			}
			if !tt.settle {
				if len(w.events) != 0 {
					t.Errorf("recorded %+v", w.events)
				}
				return
			}
			relayed, bounced := w.recorded(relay.EventRelayed), w.recorded(relay.EventBounced)
			if len(relayed) != 1 || len(bounced) != 1 || w.owed() != 1 {
				t.Errorf("recorded %+v, %d owed", w.events, w.owed())
			}
			if o := w.spool.owed; len(o) != 1 || o[0].Key != "relayed/0" {
				t.Errorf("the settlement owes %+v, want the success", o)
			}
		})
	}
}

// TestUncertainWhileLeased: while the message is offered again the event waits.
func TestUncertainWhileLeased(t *testing.T) {
	w := newWorld(t)
	m := w.message("a@x.example")
	m.Recipients[0].State = relay.Deferred
	m.Recipients[0].Last = &relay.Attempt{Time: m.Arrived, Upstream: "default", Uncertain: true}
	w.spool.messages[m.ID] = clone(m)
	w.spool.leased = true
	w.remember(m)
	w.comes("hook", w.bounced("e", "a@x.example", queueID(m)))
	w.round()
	if len(w.events) != 0 || w.store.Stat().Waiting != 1 {
		t.Fatalf("recorded %+v", w.events)
	}
	w.spool.leased = false
	for range 3 {
		w.pass(time.Minute)
		w.round()
	}
	if len(w.recorded(relay.EventBounced)) != 1 || len(w.spool.messages) != 0 {
		t.Errorf("recorded %+v", w.events)
	}
}

// TestManyTimes: what comes 46 times, shuffled and from two sources, is told once and owes one notice.
func TestManyTimes(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "a@x.example")
	var reports []func()
	for i, kind := range []feedback.Kind{
		feedback.KindRetrying, feedback.KindDelivered, feedback.KindBounced, feedback.KindComplained,
	} {
		e := w.bounced(fmt.Sprint("w", i), "a@x.example", queueID(m))
		e.Kind, e.Reply = kind, ""
		mailed := e
		mailed.Source, mailed.Provider, mailed.ID = feedback.SourceDSN, "mx.x.example", fmt.Sprint("m", i)
		for range 46 {
			reports = append(reports, func() { w.comes("hook", e) }, func() { w.comes("bounces", mailed) })
		}
	}
	rnd := rand.New(rand.NewPCG(3, 3))
	rnd.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
	for i, come := range reports {
		come()
		if i%50 == 0 {
			w.round()
		}
	}
	w.restart()
	w.round()
	for _, kind := range []relay.EventKind{
		relay.EventRetrying, relay.EventDelivered, relay.EventBounced, relay.EventComplained,
	} {
		if n := len(w.recorded(kind)); n != 1 {
			t.Errorf("%s was recorded %d times", kind, n)
		}
	}
	if n := w.store.Stat().Waiting; n != 0 || w.state(m) != feedback.StateComplained {
		t.Errorf("%d wait, state %s", n, w.state(m))
	}
}

// TestUnmatched: what fits nothing waits a day, is kept, and can be replayed; of one that names our queue id
// the log hears once.
func TestUnmatched(t *testing.T) {
	w := newWorld(t)
	m := w.message("a@x.example")
	w.comes("hook", w.bounced("ours", "a@x.example", queueID(m)))
	w.comes("hook", w.bounced("other", "a@x.example",
		feedback.Key{Kind: feedback.KeyMessageID, Value: "x@y"}))
	w.round()
	w.pass(23 * time.Hour)
	w.round()
	if n := w.counts(); n[ResultUnmatched] != 0 {
		t.Fatalf("counted %v before the day was over", n)
	}
	w.rounds()
	if n := w.counts(); n[ResultUnmatched] != 2 {
		t.Fatalf("counted %v, want two unmatched", n)
	}
	list := w.recorded(relay.EventBounced)
	if len(list) != 1 || list[0].ID != m.ID || list[0].Feedback.Trust != relay.TrustWeak ||
		list[0].To != "a@x.example" {
		t.Fatalf("recorded %+v, want one by its queue id", list)
	}
	for range 2 {
		n, err := w.store.Replay(t.Context(), recall.Filter{State: recall.StateUnmatched})
		if n != 2 || err != nil {
			t.Fatalf("replayed %d, %v", n, err)
		}
		w.rounds()
	}
	if list := w.recorded(relay.EventBounced); len(list) != 1 {
		t.Errorf("the log heard %d times", len(list))
	}
	w.remember(relayedNow(w, m))
	if n, err := w.store.Replay(t.Context(), recall.Filter{}); n != 2 || err != nil {
		t.Fatalf("replayed %d, %v", n, err)
	}
	w.round()
	if n := w.counts(); n[ResultMatched] != 1 || w.owed() != 1 {
		t.Errorf("counted %v, %d owed", n, w.owed())
	}
}

func relayedNow(w *world, m *relay.Message) *relay.Message {
	m.Recipients[0].State = relay.Relayed
	m.Recipients[0].Last = &relay.Attempt{Time: w.clock(), Upstream: "default"}
	return m
}

// TestUnreadable: what cannot be read is kept as it came, and the rest of it has its effect.
func TestUnreadable(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "a@x.example")
	w.source["half"] = Source{Proven: true, Read: func(raw *feedback.Raw) ([]feedback.Event, error) {
		return []feedback.Event{w.bounced("half", "a@x.example", queueID(m))},
			errors.New("event 2: not an object")
	}}
	for _, raw := range []feedback.Raw{
		{Source: "hook", Body: []byte("{")}, {Source: "hook", Body: []byte("panic")},
		{Source: "half", Body: []byte("?")},
	} {
		raw.Time = w.clock()
		w.journal(&raw)
	}
	w.round()
	w.round()
	if n := w.counts(); n[ResultUnreadable] != 3 || n[ResultMatched] != 1 {
		t.Errorf("counted %v", n)
	}
	var kept []string
	unreadable := recall.Filter{State: recall.StateUnreadable}
	err := w.store.List(t.Context(), unreadable, func(r recall.Report) bool {
		kept = append(kept, string(r.Raw.Body)+": "+r.Why)
		return true
	})
	if err != nil || len(kept) != 3 || kept[1] != "panic: panic: as the test asks" ||
		kept[2] != "?: event 2: not an object" {
		t.Errorf("kept %q, %v", kept, err)
	}
}

// TestProof: what is not proved has no effect before it is; what is forged goes.
func TestProof(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "a@x.example")
	var verdict error
	asked := 0
	s := w.source["hook"]
	s.Prove = func(context.Context, *feedback.Raw, time.Time) error { asked++; return verdict }
	w.source["hook"] = s
	unproven := func(id string) {
		body := fmt.Appendf(nil, `[{"Source":"webhook","Provider":"ses","ID":%q,"Kind":"bounced",`+
			`"Recipient":"a@x.example","Keys":[{"Kind":"queue_id","Value":%q}]}]`, id, m.ID)
		w.journal(&feedback.Raw{Source: "hook", Provider: "ses", Time: w.clock(), Unproven: true, Body: body})
	}
	verdict = fmt.Errorf("%w: no route", feedback.ErrUndecided)
	unproven("a")
	unproven("b")
	w.round()
	if len(w.events) != 0 || asked != 1 || w.store.Stat().Waiting != 2 {
		t.Fatalf("recorded %+v, asked %d times, %d wait", w.events, asked, w.store.Stat().Waiting)
	}
	verdict = nil
	w.pass(time.Second)
	w.round()
	if len(w.recorded(relay.EventBounced)) != 1 || w.owed() != 1 {
		t.Errorf("once proved: recorded %+v, %d owed", w.events, w.owed())
	}
	verdict = errors.New("another signature")
	unproven("c")
	w.round()
	if n := w.counts(); n[ResultUnproven] != 1 || w.store.Stat().Kept != 0 {
		t.Errorf("a forged one: counted %v, %d kept", n, w.store.Stat().Kept)
	}
	verdict = feedback.ErrUndecided
	unproven("d")
	w.rounds()
	if n := w.counts(); n[ResultUnproven] != 2 || w.store.Stat().Kept != 1 {
		t.Errorf("never decided: counted %v, %d kept", n, w.store.Stat().Kept)
	}
}

// TestSourceGone: what came through a source that is not configured any more waits, and is kept.
func TestSourceGone(t *testing.T) {
	w := newWorld(t)
	w.comes("gone", w.bounced("e", "a@x.example"))
	w.round()
	if w.store.Stat().Waiting != 1 {
		t.Fatal("it does not wait")
	}
	w.rounds()
	report, err := w.store.Show(t.Context(), 1)
	if err != nil || report.State != recall.StateUnreadable ||
		!strings.Contains(report.Why, "no source gone") {
		t.Errorf("kept %+v, %v", report, err)
	}
}

// TestRunWakes: Run works when it is kicked, and ends with its context.
func TestRunWakes(t *testing.T) {
	w := newWorld(t)
	m := w.relayed(nil, "a@x.example")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.p.Run(ctx); close(ended) }()
	w.comes("hook", w.bounced("e", "a@x.example", queueID(m)))
	w.p.Kick()
	for end := time.Now().Add(20 * time.Second); len(w.recorded(relay.EventBounced)) == 0; {
		if time.Now().After(end) {
			t.Fatal("nothing was recorded")
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-ended
}

// TestMixedReport: of one report, the events that find their message have their effect at once, and the
// others wait, each on its own.
func TestMixedReport(t *testing.T) {
	w := newWorld(t)
	var known []*relay.Message
	for i := range 3 {
		m := relayedNow(w, w.message(fmt.Sprintf("r%d@x.example", i)))
		w.remember(m)
		known = append(known, m)
	}
	late := w.message("late@x.example")
	w.comes("hook", w.bounced("0", "r0@x.example", queueID(known[0])),
		w.bounced("late", "late@x.example", queueID(late)), w.bounced("1", "r1@x.example", queueID(known[1])),
		w.bounced("1", "r1@x.example", queueID(known[1])), w.bounced("2", "r2@x.example", queueID(known[2])))
	w.p.round(t.Context())
	if n := len(w.recorded(relay.EventBounced)); n != 3 || w.store.Stat().Waiting != 1 {
		t.Fatalf("%d bounces recorded, %d reports wait", n, w.store.Stat().Waiting)
	}
	w.remember(relayedNow(w, late))
	w.pass(time.Second)
	w.p.round(t.Context())
	if n := len(w.recorded(relay.EventBounced)); n != 4 || w.store.Stat().Waiting != 0 || w.owed() != 4 {
		t.Errorf("%d bounces recorded, %d reports wait, %d notices owed", n, w.store.Stat().Waiting, w.owed())
	}
	if c := w.counts(); c[ResultMatched] != 4 || c[ResultDuplicate] != 1 {
		t.Errorf("counted %v", c)
	}
}

// TestMailGoesFirst: while there is mail to relay, what came back rests between its batches, and not
// otherwise; a batch is short, though its reports have many events.
func TestMailGoesFirst(t *testing.T) {
	for _, busy := range []bool{true, false} {
		w := newWorld(t)
		m := w.relayed(nil, "a@x.example")
		w.p.o.Busy = func() bool { return busy }
		var rests []time.Duration
		w.p.wait = func(_ context.Context, d time.Duration) { rests = append(rests, d) }
		const reports = 4
		for i := range reports {
			var events []feedback.Event
			for j := range batchMost {
				events = append(events, w.bounced(fmt.Sprint(i, "-", j), "a@x.example", queueID(m)))
			}
			w.comes("hook", events...)
		}
		w.p.round(t.Context())
		want := 0
		if busy {
			want = reports
		}
		if len(rests) != want || w.store.Stat().Waiting != 0 {
			t.Errorf("busy %t: it rested %d times, not %d; %d reports wait", busy, len(rests), want,
				w.store.Stat().Waiting)
		}
		for _, d := range rests {
			if d <= 0 || d > longestYield {
				t.Errorf("it rested for %s", d)
			}
		}
		if c := w.counts(); c[ResultMatched] != 1 || c[ResultDuplicate] != reports*batchMost-1 {
			t.Errorf("counted %v", c)
		}
	}
}

// TestWriterProves: an event that is likely is proven by the mail system of the recipient's domain or of the
// upstream, at once or when its message is found later, and by no other one.
func TestWriterProves(t *testing.T) {
	messageID := func(m *relay.Message) feedback.Key {
		return feedback.Key{Kind: feedback.KeyMessageID, Value: m.ID + "@shop.example"}
	}
	for _, tt := range []struct {
		name string
		who  feedback.Evidence
		key  func(*relay.Message) feedback.Key
		want relay.Trust
		note string
	}{
		{"recipient's", feedback.Evidence{Domains: []string{"mx.X.example"}}, queueID, relay.TrustProven, ""},
		{"upstream's", feedback.Evidence{Domains: []string{"other.example", "out.provider.example"}}, queueID,
			relay.TrustProven, ""},
		{"another recipient's", feedback.Evidence{Domains: []string{"z.example"}}, queueID,
			relay.TrustLikely, ""},
		{"a suffix", feedback.Evidence{Domains: []string{"example"}}, queueID, relay.TrustLikely, ""},
		{"unknown", feedback.Evidence{Unknown: true}, queueID, relay.TrustLikely,
			"who wrote the report is unknown: DNS did not answer"},
		{"unknown, but enough", feedback.Evidence{Domains: []string{"x.example"}, Unknown: true}, queueID,
			relay.TrustProven, ""},
		{"Message-ID", feedback.Evidence{Domains: []string{"x.example"}}, messageID, relay.TrustWeak, ""},
	} {
		for _, late := range []bool{false, true} {
			w := newWorld(t)
			asked := 0
			w.source["bounces"] = Source{Read: decodeEvents,
				Evidence: func(ctx context.Context, raw *feedback.Raw) feedback.Evidence {
					if _, bounded := ctx.Deadline(); !bounded || raw == nil || len(raw.Body) == 0 {
						t.Error("evidence is asked without an end, or without the mail")
					}
					asked++
					return tt.who
				}}
			m := w.message("a@x.example", "b@z2.example")
			for i := range m.Recipients {
				r := &m.Recipients[i]
				r.State, r.Last = relay.Relayed,
					&relay.Attempt{Time: m.Arrived, Upstream: "default", Host: "smtp.provider.example"}
			}
			if !late {
				w.remember(m)
			}
			e := w.bounced("e1", "a@x.example", tt.key(m))
			e.Source = feedback.SourceDSN
			w.comes("bounces", e)
			w.round()
			if late {
				w.remember(m)
				w.pass(time.Second)
				w.round()
			}
			list := w.recorded(relay.EventBounced)
			if len(list) != 1 || list[0].Feedback.Trust != tt.want || list[0].Note != tt.note {
				t.Errorf("%s, late %t: %+v", tt.name, late, list)
				continue
			}
			if want := 1; asked > want || tt.want != relay.TrustWeak && asked != want {
				t.Errorf("%s, late %t: asked %d times", tt.name, late, asked)
			}
		}
	}
}

// TestSlowDNS: what evidence takes is bounded in a round, whoever sends how many bounces.
func TestSlowDNS(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.source["bounces"] = Source{Read: decodeEvents,
		Evidence: func(context.Context, *feedback.Raw) feedback.Evidence {
			asked++
			w.p.asked += evidenceRound / 2 // as if it took that long
			return feedback.Evidence{Unknown: true}
		}}
	m := w.relayed(nil, "a@x.example", "b@x.example")
	for i := range 5 {
		w.comes("bounces", w.bounced(fmt.Sprint(i), "a@x.example", queueID(m)))
	}
	w.round()
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
