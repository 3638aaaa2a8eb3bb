package recall

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// keyRecipient is the key that a recipient's address is.
const keyRecipient feedback.KeyKind = "recipient"

// key is a key in the form in which it is stored.
type key struct {
	kind  feedback.KeyKind
	value string
}

// sought are the stored forms of a key, each of which is looked for. A return path names a queue id, and so
// does an envelope id where the application gave none.
func sought(k feedback.Key) []key {
	switch k.Kind {
	case feedback.KeyReturnPath, feedback.KeyQueueID:
		return []key{{feedback.KeyQueueID, k.Value}}
	case feedback.KeyEnvelopeID:
		return []key{{feedback.KeyQueueID, k.Value}, {feedback.KeyEnvelopeID, k.Value}}
	case feedback.KeyProviderID:
		return []key{{k.Kind, providerID(k.Value)}}
	}
	return []key{{k.Kind, bare(k.Value)}}
}

// keysOf are the keys of a message but its own id: of the mail, the ids that its upstream gave, the
// Message-ID, the envelope id, and the recipients that were handed over.
func keysOf(m *relay.Message) []key {
	keys := make([]key, 0, 3+2*len(m.Recipients))
	add := func(kind feedback.KeyKind, value string) {
		if value != "" {
			keys = append(keys, key{kind, value})
		}
	}
	if m.MailID() != m.ID {
		add(feedback.KeyQueueID, m.MailID())
	}
	add(feedback.KeyMessageID, bare(m.MessageID))
	add(feedback.KeyEnvelopeID, m.Envelope.EnvID)
	last := ""
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if stateOf(r) == "" {
			continue
		}
		add(keyRecipient, strings.ToLower(r.Address))
		if id := providerID(r.Last.UpstreamID); id != last {
			last = id
			add(feedback.KeyProviderID, id)
		}
	}
	return keys
}

// fits reports whether a message has a key.
func (k key) fits(m *relay.Message) bool {
	if k.kind == feedback.KeyQueueID && k.value == m.ID {
		return true
	}
	for _, other := range keysOf(m) {
		if k == other {
			return true
		}
	}
	return false
}

// hash is what the key is found by.
func (k key) hash() int64 {
	var short [128]byte // as long as most
	b := append(short[:0], k.kind...)
	b = append(append(b, 0), k.value...)
	sum := sha256.Sum256(b)
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// stateOf is the state in which a recipient was handed over, "" for one that was not.
func stateOf(r *relay.Recipient) feedback.State {
	switch {
	case r.Last == nil:
		return ""
	case r.State == relay.Relayed:
		return feedback.StateRelayed
	case !r.State.Final() && r.Last.Uncertain:
		return feedback.StateUncertain
	}
	return ""
}

// bare is an id without angle brackets around it.
func bare(id string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(id), "<"), ">")
}

// providerID is the id that a provider gave a message, in the form in which ids are compared: some add their
// host to it in one place and not in the other.
func providerID(id string) string {
	id = bare(id)
	if local, _, _ := strings.Cut(id, "@"); local != "" {
		return local
	}
	return id
}

// eventKey is the key of an event in the store. Provider and id name an event; the source is part of it, so
// that a mail, which may claim any provider, never stands for a webhook's event.
func eventKey(e *feedback.Event) []byte {
	h := sha256.New()
	for _, s := range []string{string(e.Source), e.Provider, e.ID} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return h.Sum(nil)[:16]
}
