package processor

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// grade says how well an event is proved and matched.
//
//	            webhook with proof            bounce mail
//	proven      a key, and its recipient      our return path, for this recipient or the only one; what is
//	                                          likely, and was written by the system of the recipient's
//	                                          domain or of the upstream, see confirm
//	likely      a key, and the only           our return path, or our queue id, and one of several
//	            recipient under another       recipients
//	            address; or a Message-ID
//	            of several messages
//	weak        it names several recipients   a Message-ID or a provider's id, and a recipient; our
//	            and does not say which        queue id without a recipient of the message
//	guess       a recipient and the time      a recipient and the time
//
// A queue id has 72 random bits, and so is known only to who saw the message; but that is each recipient of
// it. Ids of providers and Message-IDs are shown to more people, in archives and replies. An ENVID that the
// application chose may be easy to know.
func grade(source *Source, e *feedback.Event, m *match) relay.Trust {
	switch {
	case m.by.Kind == keyRecipient:
		return relay.TrustGuess
	case e.Shared && !m.only:
		return relay.TrustWeak
	case source.Proven && (!m.named && e.Recipient != "" || !m.unique && m.by.Kind == feedback.KeyMessageID):
		return relay.TrustLikely
	case source.Proven:
		return relay.TrustProven
	}
	ours := m.by.Kind == feedback.KeyQueueID ||
		m.by.Kind == feedback.KeyEnvelopeID && relay.ValidID(m.by.Value)
	switch {
	case m.by.Kind == feedback.KeyReturnPath && (m.only || m.by.Recipient != ""):
		return relay.TrustProven
	case m.by.Kind == feedback.KeyReturnPath, ours && m.named:
		return relay.TrustLikely
	}
	return relay.TrustWeak
}

// confirmable reports whether the event of a mail may be likely, and become proven by who wrote it.
func confirmable(e *feedback.Event) bool {
	return slices.ContainsFunc(e.Keys, func(k feedback.Key) bool {
		return strength(k.Kind) <= strength(feedback.KeyEnvelopeID)
	})
}

// confirm is the grade of a likely event by who wrote it, with a note. Each recipient of a message knows its
// queue id and return path, so an event about another one is proved only by the mail system that should know:
// that of the recipient's own domain, or the host that took the mail.
func confirm(who *feedback.Evidence, m *match) (relay.Trust, string) {
	if who == nil {
		return relay.TrustLikely, ""
	}
	r := &m.message.Recipients[m.index]
	for _, domain := range who.Domains {
		if sameOrganization(domain, domainOf(r.Address)) ||
			r.Last != nil && sameOrganization(domain, r.Last.Host) {
			return relay.TrustProven, ""
		}
	}
	if who.Unknown {
		return relay.TrustLikely, "who wrote the report is unknown: DNS did not answer"
	}
	return relay.TrustLikely, ""
}

// sameOrganization reports whether two domains are of one registered domain.
func sameOrganization(a, b string) bool {
	organization := func(domain string) string {
		domain = strings.ToLower(strings.TrimSuffix(domain, "."))
		registered, err := publicsuffix.EffectiveTLDPlusOne(domain)
		if _, notName := netip.ParseAddr(domain); err != nil || notName == nil {
			return "" // a public suffix, an address or nothing: of nobody in particular
		}
		return registered
	}
	one := organization(a)
	return one != "" && one == organization(b)
}
