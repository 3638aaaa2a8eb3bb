package spool

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"mailwhy/relay"
)

// storedHead is the JSON of a message without its recipients. JSON has no strings that are not UTF-8; where
// a client sent such bytes they stand in Octets, under the number of the text.
type storedHead struct {
	relay.Message
	Octets map[int][]byte `json:"octets,omitempty"`
}

// texts are the fields that hold a client's bytes. The order is part of the format.
func (h *storedHead) texts() []*string {
	return []*string{
		&h.Subject, &h.MessageID, &h.HeaderFrom, &h.Envelope.From, &h.Envelope.EnvID,
		&h.Client.Hello, &h.Client.User, &h.Client.Name,
	}
}

// storedRecipient is the JSON of a recipient with bytes that are not UTF-8.
type storedRecipient struct {
	relay.Recipient
	Octets map[int][]byte `json:"octets,omitempty"`
}

// texts are the fields that hold others' bytes. The order is part of the format.
func (s *storedRecipient) texts() []*string {
	ts := []*string{&s.Address, &s.ORCPT, &s.HeldWhy}
	for i := range s.History {
		ts = append(ts, &s.History[i].Reply)
	}
	return ts
}

// octets keeps the texts that JSON cannot.
func octets(texts []*string) (o map[int][]byte) {
	for i, t := range texts {
		if !utf8.ValidString(*t) {
			if o == nil {
				o = map[int][]byte{}
			}
			o[i] = []byte(*t)
		}
	}
	return o
}

// restore undoes octets.
func restore(texts []*string, o map[int][]byte) {
	for i, b := range o {
		if i >= 0 && i < len(texts) {
			*texts[i] = string(b)
		}
	}
}

func encodeRecipients(recipients []relay.Recipient) ([]byte, error) {
	plain := true
	stored := make([]storedRecipient, len(recipients))
	for i := range recipients {
		stored[i].Recipient = recipients[i]
		stored[i].Octets = octets(stored[i].texts())
		plain = plain && stored[i].Octets == nil
	}
	if plain {
		return json.Marshal(recipients)
	}
	return json.Marshal(stored)
}

func decodeRecipients(b []byte) ([]relay.Recipient, error) {
	// The name of the key until format 2. Inside a text the quotation marks would be escaped.
	b = bytes.ReplaceAll(b, []byte(`"delay_told":`), []byte(`"delay_reported":`))
	if !bytes.Contains(b, []byte(`"octets":{`)) {
		var recipients []relay.Recipient
		err := json.Unmarshal(b, &recipients)
		return recipients, err
	}
	var stored []storedRecipient
	err := json.Unmarshal(b, &stored)
	recipients := make([]relay.Recipient, len(stored))
	for i := range stored {
		restore(stored[i].texts(), stored[i].Octets)
		recipients[i] = stored[i].Recipient
	}
	return recipients, err
}
