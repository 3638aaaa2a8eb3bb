package mail

import (
	"slices"
	"strings"

	"mailwhy/diagnose/bounce"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/internal/returnpath"
)

// maxKeys is how many keys of a kind an event has. A report is about one message; the rest of what a mail
// may quote is not worth a search.
const maxKeys = 16

// finder knows by what the message that a mail is about can be found.
type finder struct {
	paths  []returnpath.Path // of ours that the mail came to, or names
	others []feedback.Key    // the strongest first
}

// finder looks for keys in a mail.
func (r *Reader) finder(in *reading) *finder {
	f := &finder{}
	if r.Paths != nil {
		for _, address := range in.sentTo() {
			path, ok := r.Paths.Parse(address)
			if ok && !slices.Contains(f.paths, path) {
				f.paths = append(f.paths, path)
			}
		}
	}
	f.queueIDs(in)
	f.envelopeIDs(in)
	f.providerIDs(in)
	f.messageIDs(in)
	return f
}

// sentTo are the addresses that the mail may have been sent to, the best known first. The header fields are
// as good as the envelope here: only whoever got the message knows a code that is right.
func (in *reading) sentTo() []string {
	list := slices.Clone(in.mail.To)
	for _, name := range [...]string{"delivered-to", "x-original-to", "envelope-to", "to"} {
		for _, value := range in.header.fields[name] {
			list = append(list, addresses(value)...)
		}
	}
	if c := in.report.Complaint; c != nil { // RFC 5965, 3.2: Original-Mail-From
		list = append(list, c.Sender)
	}
	return list
}

// keys are those of one event. A return path for one recipient is good for an event about that recipient;
// for another one it tells the message and no more.
func (f *finder) keys(e *feedback.Event) []feedback.Key {
	var proved, told []feedback.Key
	for i := range f.paths {
		path := &f.paths[i]
		key := feedback.Key{Kind: feedback.KeyReturnPath, Value: path.ID}
		switch {
		case !path.OneRecipient:
		case path.IsFor(e.Recipient):
			key.Recipient = e.Recipient
		case path.IsFor(e.Original):
			key.Recipient = e.Original
		default:
			told = append(told, feedback.Key{Kind: feedback.KeyQueueID, Value: path.ID})
			continue
		}
		proved = append(proved, key)
	}
	return append(append(proved, told...), f.others...)
}

// found are the keys of a kind that the mail holds. Those in the message that came back come before those
// elsewhere in the body, and what the mail says that it answers comes last.
func (in *reading) found(kind bounce.KeyKind) []bounce.Key {
	var list []bounce.Key
	for _, where := range [...]bounce.Where{
		bounce.WhereStatus, bounce.WhereOriginal, bounce.WhereBody, bounce.WhereReference,
	} {
		for _, k := range in.report.Keys {
			if k.Kind == kind && k.Where == where && len(list) < maxKeys {
				list = append(list, k)
			}
		}
	}
	return list
}

// queueIDs adds the ids in Received fields that a mailwhy wrote. Whether it is this one is for whoever
// matches: Host says which one.
func (f *finder) queueIDs(in *reading) {
	for _, k := range in.found(bounce.KeyQueueID) {
		f.add(feedback.KeyQueueID, k.Value, k.Host)
	}
}

// envelopeIDs adds the envelope ids that may be ours: those of applications are theirs.
func (f *finder) envelopeIDs(in *reading) {
	for _, k := range in.found(bounce.KeyEnvelopeID) {
		f.add(feedback.KeyEnvelopeID, k.Value, "")
	}
}

// providerIDs adds the ids that a provider gave the message in place of its Message-ID.
func (f *finder) providerIDs(in *reading) {
	for _, k := range in.found(bounce.KeyMessageID) {
		if id := providerID(k.Value); id != "" {
			f.others = append(f.others, feedback.Key{Kind: feedback.KeyProviderID, Value: id})
		}
	}
}

// providerID is the id by which SES named the message in its 250: it is in front of the @ of the Message-ID
// that SES gave it.
func providerID(messageID string) string {
	local, domain, _ := strings.Cut(messageID, "@")
	domain = strings.ToLower(domain)
	if domain == "amazonses.com" || strings.HasSuffix(domain, ".amazonses.com") {
		return local
	}
	return ""
}

// messageIDs adds Message-IDs.
func (f *finder) messageIDs(in *reading) {
	for _, k := range in.found(bounce.KeyMessageID) {
		f.others = append(f.others, feedback.Key{Kind: feedback.KeyMessageID, Value: k.Value})
	}
}

// add adds a key whose value is a queue id; any other value is somebody else's.
func (f *finder) add(kind feedback.KeyKind, value, host string) {
	if id := strings.ToUpper(value); relay.ValidID(id) {
		f.others = append(f.others, feedback.Key{Kind: kind, Value: id, Host: host})
	}
}
