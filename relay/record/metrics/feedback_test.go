package metrics

import (
	"context"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// bouncedLate is the event of a recipient that bounced after the upstream's 250, two minutes before it was
// told.
func bouncedLate(kind relay.EventKind) relay.Event {
	e := mailboxFull(kind)
	e.Time, e.Delay = noon.Add(time.Hour), time.Hour // it waited until its message was found
	e.Feedback = &relay.Feedback{Source: "webhook", Provider: "ses", Trust: relay.TrustProven,
		ReportedAt: noon}
	e.Tried = &relay.Attempt{Stage: diagnose.StageRemote, Time: noon.Add(-2 * time.Minute)}
	return e
}

// TestFeedback: what is told later counts by event and category as the rest does, is no attempt of ours, and
// its reports count by source, provider and result.
func TestFeedback(t *testing.T) {
	m := fresh("shop")
	before := read(t, m)
	before.Expect(t, map[string]float64{
		`mailwhy_recipients_total{event="bounced",upstream="default",category="Mailbox Full"}`: 0,
		`mailwhy_recipients_total{event="delivered",upstream="default",category="none"}`:       0,
		`mailwhy_feedback_total{source="webhook",provider="postmark",result="unproven"}`:       0,
		`mailwhy_feedback_total{source="dsn",provider="other",result="matched"}`:               0,
	})
	if _, there := before[`mailwhy_feedback_last_timestamp_seconds{source="webhook"}`]; there {
		t.Error("a time at which nothing came")
	}
	m.Record(bouncedLate(relay.EventBounced))
	m.Record(bouncedLate(relay.EventComplained))
	delivered := bouncedLate(relay.EventDelivered)
	delivered.Diagnosis, delivered.Feedback.Source = nil, "dsn"
	m.Record(delivered)
	for _, r := range [][3]string{
		{"webhook", "ses", "matched"}, {"webhook", "ses", "matched"}, {"webhook", "ses", "duplicate"},
		{"webhook", "stranger", "unmatched"}, {"dsn", "mx.provider.test", "matched"},
		{"arf", "", "unproven"}, {"stranger", "ses", "matched"}, {"webhook", "ses", "stranger"},
	} {
		m.Feedback(r[0], r[1], r[2])
	}
	p := read(t, m)
	p.Expect(t, map[string]float64{
		`mailwhy_recipients_total{event="bounced",upstream="default",category="Mailbox Full"}`:      1,
		`mailwhy_recipients_total{event="complained",upstream="default",category="Mailbox Full"}`:   1,
		`mailwhy_recipients_total{event="delivered",upstream="default",category="none"}`:            1,
		`mailwhy_recipients_total{event="failed",upstream="default",category="Mailbox Full"}`:       0,
		`mailwhy_recipient_reasons_total{event="bounced",upstream="default",reason="mailbox_full"}`: 1,
		`mailwhy_attempt_duration_seconds_count{upstream="default"}`:                                0,
		`mailwhy_message_delay_seconds_count{upstream="default"}`:                                   0,
		`mailwhy_feedback_total{source="webhook",provider="ses",result="matched"}`:                  2,
		`mailwhy_feedback_total{source="webhook",provider="ses",result="duplicate"}`:                1,
		`mailwhy_feedback_total{source="webhook",provider="other",result="unmatched"}`:              1,
		`mailwhy_feedback_total{source="dsn",provider="other",result="matched"}`:                    1,
		`mailwhy_feedback_total{source="arf",provider="other",result="unproven"}`:                   1,
		`mailwhy_feedback_last_timestamp_seconds{source="webhook"}`: float64(
			noon.Unix()),
		`mailwhy_feedback_delay_seconds_count{source="webhook"}`: 2,
		`mailwhy_feedback_delay_seconds_sum{source="webhook"}`:   240,
		`mailwhy_feedback_delay_seconds_count{source="dsn"}`:     1,
		`mailwhy_feedback_waiting`:                               4,
		`mailwhy_feedback_due`:                                   3,
		`mailwhy_feedback_due_age_seconds`:                       90,
		`mailwhy_feedback_kept`:                                  2,
		`mailwhy_recall_messages`:                                5,
	})
	if _, there := p[`mailwhy_feedback_last_timestamp_seconds{source="arf"}`]; there {
		t.Error("an unproven report counts as a sign of life")
	}
	for series := range p {
		if strings.Contains(series, "stranger") {
			t.Errorf("a stranger's word: %s", series)
		}
	}
}

// TestFeedbackOff: where feedback is off there is no series of it, and counting it does nothing.
func TestFeedbackOff(t *testing.T) {
	o := optionsOf(func(context.Context) (Spool, error) { return Spool{}, nil })
	o.Feedback = nil
	m := New(o)
	m.Know(Names{Upstreams: []string{"default"}, Providers: []string{"ses"}})
	m.Feedback("webhook", "ses", "matched")
	for series := range read(t, m) {
		if strings.Contains(series, "feedback") || strings.Contains(series, "recall") ||
			strings.Contains(series, "bounced") {
			t.Errorf("there is %s", series)
		}
	}
	m.Record(bouncedLate(relay.EventBounced)) // from a journal that is emptied
	read(t, m).Expect(t, map[string]float64{
		`mailwhy_recipients_total{event="bounced",upstream="default",category="Mailbox Full"}`: 1,
	})
}

// TestFeedbackAllocates: a report costs no memory.
func TestFeedbackAllocates(t *testing.T) {
	m, e := fresh("shop"), bouncedLate(relay.EventBounced)
	m.Record(e)
	if n := testing.AllocsPerRun(100, func() {
		m.Record(e)
		m.Feedback("webhook", "ses", "matched")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
