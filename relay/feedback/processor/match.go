package processor

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
	"mailwhy/relay/internal/xtext"
)

// match is the message and the recipient that an event is about.
type match struct {
	message *relay.Message
	state   feedback.State // of the recipient
	index   int            // of the recipient
	by      feedback.Key   // what found the message
	named   bool           // the event names the recipient; else it is the message's only one
	only    bool           // the message is for one recipient
	unique  bool           // nothing else is found by the key
}

// keyRecipient is by what a message is found that only its recipient and the time tell of.
const keyRecipient feedback.KeyKind = "recipient"

// window is how long before its event a message was relayed at the most that is found by its recipient.
const window = 48 * time.Hour

// slack is how long after its event, by the provider's clock, a message may seem to be relayed that is found
// by its recipient: providers give whole seconds, and their clocks are not ours.
const slack = 5 * time.Second

// relayedAt is when the recipient was handed over.
func (m *match) relayedAt() time.Time {
	if a := m.message.Recipients[m.index].Last; a != nil {
		return a.Time
	}
	return time.Time{}
}

// strength orders the kinds of keys, the strongest first.
func strength(k feedback.KeyKind) int {
	return slices.Index([]feedback.KeyKind{
		feedback.KeyReturnPath, feedback.KeyQueueID, feedback.KeyEnvelopeID, feedback.KeyProviderID,
		feedback.KeyMessageID,
	}, k)
}

// match finds what an event is about; nil if it is not known, with the reason. Its keys are tried in the
// order of their strength: among the messages that are remembered, and for a queue id that is not there in
// the spool. An event without a key that tells is matched by its recipient and the time.
func (p *Processor) match(ctx context.Context, r *recall.Report, source *Source) (*match, string, error) {
	e := r.Event
	keys := slices.Clone(e.Keys)
	slices.SortStableFunc(keys, func(a, b feedback.Key) int { return strength(a.Kind) - strength(b.Kind) })
	why := "no message is remembered that it could be about"
	for _, k := range keys {
		found, err := p.o.Store.Find(ctx, k)
		if err != nil {
			return nil, "", err
		}
		if m := choose(source, e, k, found); m != nil && m.state != "" {
			return m, "", nil
		}
		waiting, err := p.waiting(ctx, e, k)
		if waiting != nil || err != nil {
			return nil, "its message is not settled yet", err
		}
		if len(found) > 0 {
			why = "its recipient is none of the message's"
		}
	}
	if !telling(keys) && r.Tries > 0 { // not at once: a message that fits may not be written yet
		m, err := p.guess(ctx, r, source)
		return m, why, err
	}
	return nil, why, nil
}

// telling reports whether one of the keys stands in each message: where it fits none, the message is not
// remembered. An id of the provider's is no such key, since not each provider tells it in its 250.
func telling(keys []feedback.Key) bool {
	return slices.ContainsFunc(keys, func(k feedback.Key) bool { return k.Kind != feedback.KeyProviderID })
}

// choose chooses among the messages that a key fits the one that an event is about: the newest that was
// relayed before it. It is nil if none has the recipient.
func choose(source *Source, e *feedback.Event, k feedback.Key, found []feedback.Remembered) *match {
	ours := k.Kind == feedback.KeyReturnPath || k.Kind == feedback.KeyQueueID
	var fits []*match
	for i := range found {
		m := found[i].Message
		if !ours && !tellsOf(source, m) {
			continue
		}
		index, named := recipientOf(e, k, m)
		if index < 0 {
			continue
		}
		fits = append(fits, &match{
			message: m, state: found[i].States[index], index: index, by: k, named: named,
			only: len(m.Recipients) == 1 && m.Mail == "",
		})
	}
	if len(fits) == 0 {
		return nil
	}
	best := slices.IndexFunc(fits, func(m *match) bool {
		return !e.Time.IsZero() && !m.relayedAt().After(e.Time)
	})
	m := fits[max(best, 0)]
	m.unique = len(fits) == 1
	return m
}

// tellsOf reports whether a source tells of the mail of a message's upstream.
func tellsOf(source *Source, m *relay.Message) bool {
	return len(source.Lanes) == 0 || slices.Contains(source.Lanes, m.Lane)
}

// recipientOf finds the recipient that an event is about, without case: by the address that a return path is
// for, by the address that the event gives, then by the one that was given first (RFC 3464, 2.3.1). It is the
// only one of a message where none fits: the address may have been rewritten on the way. -1 if there is none.
func recipientOf(e *feedback.Event, k feedback.Key, m *relay.Message) (index int, named bool) {
	for _, address := range []string{k.Recipient, e.Recipient, e.Original} {
		if address == "" {
			continue
		}
		for i := range m.Recipients {
			if strings.EqualFold(m.Recipients[i].Address, address) || isOriginal(&m.Recipients[i], address) {
				return i, true
			}
		}
	}
	if len(m.Recipients) == 1 && m.Mail == "" {
		return 0, false
	}
	return -1, false
}

// isOriginal reports whether an address is the original recipient that the client gave (RFC 3461, 4.2).
func isOriginal(r *relay.Recipient, address string) bool {
	if r.ORCPT == "" {
		return false
	}
	_, original, err := xtext.ORCPT(r.ORCPT)
	return err == nil && strings.EqualFold(original, address)
}

// guess finds the message that was relayed to an event's recipient in the time before, if there is exactly
// one.
func (p *Processor) guess(ctx context.Context, r *recall.Report, source *Source) (*match, error) {
	e := r.Event
	address := cmp.Or(e.Original, e.Recipient)
	if !strings.Contains(address, "@") {
		return nil, nil
	}
	at := r.Came
	if !e.Time.IsZero() && e.Time.Before(at) {
		at = e.Time
	}
	found, err := p.o.Store.FindRecipient(ctx, address, at.Add(-window), at.Add(slack))
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(f feedback.Remembered) bool { return !tellsOf(source, f.Message) })
	if len(found) != 1 {
		return nil, nil
	}
	m := choose(source, e, feedback.Key{Kind: keyRecipient, Value: address}, found)
	if m == nil || m.state == "" {
		return nil, nil
	}
	return m, nil
}
