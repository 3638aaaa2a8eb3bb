package processor

import (
	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// grade says how well an event is proved and matched.
//
//	            webhook with proof            bounce mail
//	proven      a key, and its recipient      our return path, for this recipient or the only one
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
