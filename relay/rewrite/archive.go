package rewrite

import (
	"errors"
	"slices"
	"strings"

	"mailwhy/relay"
)

// Archive says which mail is copied to an address. Its keys are those of a Rule.
type Archive struct {
	Bcc        string
	Clients    []string
	Senders    []string
	Recipients []string // one of the mail's is enough
}

// archive is an Archive, ready to be applied.
type archive struct {
	Archive
	senders, recipients matcher
}

func newArchive(from *Archive) (archive, error) {
	a := archive{Archive: *from}
	var errSenders, errRecipients error
	a.senders, errSenders = newMatcher(from.Senders)
	a.recipients, errRecipients = newMatcher(from.Recipients)
	return a, errors.Join(errSenders, errRecipients)
}

// copies are the recipients that the archives add to a mail. Each is a recipient like others, with a route
// and an outcome of its own, about which nobody is sent a notice (RFC 3461, 4.1: NEVER). In a sandbox only
// the archives that it allows get mail.
func (w *Rewriter) copies(m *relay.Message) (list []relay.Recipient) {
	for i := range w.archives {
		a := &w.archives[i]
		is := func(r relay.Recipient) bool { return strings.EqualFold(r.Address, a.Bcc) }
		if a.matches(m) && w.sandbox.allows(a.Bcc) && !slices.ContainsFunc(m.Recipients, is) &&
			!slices.ContainsFunc(list, is) {
			list = append(list, relay.Recipient{Address: a.Bcc, Notify: relay.NotifyNever, Archive: true})
		}
	}
	return list
}

func (a *archive) matches(m *relay.Message) bool {
	if _, ok := a.senders.match(m.Envelope.From); !ok || !clientMatches(a.Clients, m) {
		return false
	}
	return slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool {
		return a.recipients.matchesAny(given(&r))
	})
}
