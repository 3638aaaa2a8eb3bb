package spool

import (
	"slices"

	"mailwhy/relay"
)

// ToStore are the messages that a relay.Staged has to store: m as set leaves it, if anything of it waits, and
// the others. It changes none of them.
func ToStore(m *relay.Message, set *relay.Settlement, with []*relay.Message) []*relay.Message {
	after := *m
	if after.Recipients = set.Recipients; set.Lane != "" {
		after.Lane = set.Lane
	}
	isOpen := func(r relay.Recipient) bool { return !r.State.Final() }
	if len(set.Owed) > 0 || slices.ContainsFunc(after.Recipients, isOpen) {
		return append([]*relay.Message{&after}, with...)
	}
	return with
}
