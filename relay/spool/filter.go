package spool

import (
	"strings"

	"mailwhy/relay"
)

// Selects reports whether the fields of a filter other than IDs, After and Limit select m. Those are the
// engine's, which has an index for them.
func Selects(f relay.QueueFilter, m *relay.Message) bool {
	if !f.OlderThan.IsZero() && !m.Arrived.Before(f.OlderThan) || f.Lane != "" && m.Lane != f.Lane {
		return false
	}
	if f.Waiting && !anyRecipient(m, (*relay.Recipient).Waiting) {
		return false
	}
	if f.Sender != "" && !addressMatches(f.Sender, m.Envelope.From) {
		return false
	}
	if f.Recipient == "" && f.Category == "" && f.State == "" {
		return true
	}
	return anyRecipient(m, func(r *relay.Recipient) bool {
		return f.Recipient == "" ||
			addressMatches(f.Recipient, r.Address)
	}) &&
		anyRecipient(m, func(r *relay.Recipient) bool {
			return f.Category == "" || r.Diagnosis != nil &&
				strings.EqualFold(string(r.Diagnosis.Category), f.Category)
		}) &&
		anyRecipient(m, func(r *relay.Recipient) bool { return f.State == "" || r.State == f.State })
}

func anyRecipient(m *relay.Message, is func(*relay.Recipient) bool) bool {
	for i := range m.Recipients {
		if is(&m.Recipients[i]) {
			return true
		}
	}
	return false
}

// addressMatches reports whether address is pattern, or in the domain that the pattern "@domain" names;
// "<>" is the null sender.
func addressMatches(pattern, address string) bool {
	if pattern == "<>" {
		return address == ""
	}
	if strings.HasPrefix(pattern, "@") {
		i := strings.LastIndexByte(address, '@')
		return i >= 0 && strings.EqualFold(address[i:], pattern)
	}
	return strings.EqualFold(address, pattern)
}
