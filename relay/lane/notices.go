package lane

import (
	"slices"
	"time"

	"mailwhy/relay"
)

// NoticesFor returns the notices that become due when m's recipients are settled as after. It sets
// DelayReported in after for those whose delay is then reported, and is pure otherwise. m holds the
// recipients as they were before. The caller stores after and the notices in one settlement.
//
// A message with the null sender (RFC 5321, 4.5.5; RFC 3461, 5.2.1) and a report of our own leave none.
// Otherwise each recipient's NOTIFY decides. Where the DSN parameters were passed on to the upstream, it is
// the upstream that reports success (RFC 3461, 5.2.1).
func NoticesFor(p *Policy, m *relay.Message, after []relay.Recipient, now time.Time) []relay.Notice {
	if m.Envelope.From == "" || m.Report {
		return nil
	}
	var notices []relay.Notice
	for i := range after {
		kind, owed := noticeFor(p, m, &m.Recipients[i], &after[i], now)
		if !owed {
			continue
		}
		if kind == relay.NoticeDelayed {
			after[i].DelayReported = true
		}
		notices = append(notices,
			relay.Notice{Message: m.ID, Recipient: i, Kind: kind, Due: now.Add(p.Collect)})
	}
	return notices
}

// owed are the entries of the outbox that a settlement of m as after leaves, see NoticesFor.
func owed(p *Policy, m *relay.Message, after []relay.Recipient, now time.Time) []relay.Entry {
	return relay.NoticeEntries(NoticesFor(p, m, after, now))
}

// owe are the entries by which webhooks get those of the events of a settlement that they want; these are
// marked as Owed.
func (l *Lane) owe(events []relay.Event) (entries []relay.Entry) {
	if l.o.Owe == nil {
		return nil
	}
	for i := range events {
		if e := &events[i]; e.Kind != relay.EventRelayed {
			if entry, ok := l.o.Owe(e); ok {
				entries = append(entries, entry)
			}
		}
	}
	return entries
}

// tellOwed tells those who wait for entries that a settlement has left some.
func (l *Lane) tellOwed(entries []relay.Entry) {
	is := func(t relay.Topic) func(relay.Entry) bool {
		return func(e relay.Entry) bool { return e.Topic == t }
	}
	if slices.ContainsFunc(entries, is(relay.TopicReport)) {
		l.o.NoticesDue()
	}
	if slices.ContainsFunc(entries, is(relay.TopicWebhook)) {
		l.o.EntriesDue()
	}
}

// noticeFor says which notice is owed when one recipient goes from before to after. A recipient that was
// already settled has had its notice.
func noticeFor(p *Policy, m *relay.Message, before, after *relay.Recipient,
	now time.Time) (kind relay.NoticeKind, owed bool) {
	if before.State.Final() {
		return "", false
	}
	switch after.State {
	case relay.Failed, relay.Expired, relay.Suppressed:
		return relay.NoticeFailed, after.Notify.OwesFailure() // RFC 3461, 5.2.6
	case relay.Relayed:
		passed := after.Last != nil && after.Last.DSN
		return relay.NoticeRelayed, after.Notify.OwesSuccess() && !passed // RFC 3461, 5.2.2 (b)
	case relay.Deferred:
		late := p.DelayAfter > 0 && now.Sub(m.Arrived) >= p.DelayAfter
		return relay.NoticeDelayed, late && !after.DelayReported &&
			after.Notify.OwesDelay() // RFC 3461, 5.2.5
	}
	return "", false
}
