package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook"
)

// maxPayload is the longest payload that is read, bytes.
const maxPayload = 16 << 20

// toldEvent is what is printed of one event of a provider: what it tells, and what that means.
type toldEvent struct {
	File          string        `json:"file,omitempty"`    // when several are read
	ToldBy        string        `json:"told_by,omitempty"` // the Diagnosis has a provider of its own
	Kind          feedback.Kind `json:"kind,omitempty"`
	ProviderType  string        `json:"provider_type,omitempty"`
	ProviderClass string        `json:"provider_class,omitempty"`
	Recipient     string        `json:"recipient,omitempty"`
	Shared        bool          `json:"shared,omitempty"` // it may be any of the recipients that are told
	Remote        string        `json:"remote,omitempty"` // the recipient's server
	Status        string        `json:"status,omitempty"` // told beside the reply
	Time          string        `json:"time,omitempty"`
	EventID       string        `json:"event_id,omitempty"`
	QueueID       string        `json:"queue_id,omitempty"` // ours
	MessageID     string        `json:"message_id,omitempty"`
	ProviderID    string        `json:"provider_id,omitempty"` // the provider's for the message
	explained
}

// payloads explains the events in files. Nothing of them is proved: a person looks at them.
func (d *diagnoser) payloads(files []string) error {
	for _, name := range files {
		label := ""
		if len(files) > 1 {
			label = name
		}
		err := d.withFile(name, func(r io.Reader) error { return d.payload(label, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// payload explains each event in what one request brought.
func (d *diagnoser) payload(label string, r io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err != nil {
		return err
	}
	provider := cmp.Or(d.provider, webhook.Guess(body))
	if err := readable(body, provider); err != nil {
		return d.unreadableEvents(label, provider, err)
	}
	events, err := webhook.ReadUnproven(provider, body)
	for i := range events {
		if err := d.printEvent(d.toldOf(label, &events[i])); err != nil {
			return err
		}
	}
	if err == nil && len(events) == 0 {
		err = errors.New("no event here tells of a delivery")
	}
	if err != nil {
		return d.unreadableEvents(label, provider, err)
	}
	return nil
}

// unreadableEvents says why there are no events, or not all.
func (d *diagnoser) unreadableEvents(label, provider string, err error) error {
	x := toldEvent{File: label, ToldBy: provider, explained: explained{Error: err.Error()}}
	return d.printEvent(&x)
}

// readable reports why a payload cannot be read.
func readable(body []byte, provider string) error {
	switch {
	case len(body) > maxPayload:
		return fmt.Errorf("the payload is larger than %d MiB", maxPayload>>20)
	case provider == "":
		return fmt.Errorf("whose payload this is cannot be told: name the provider with --provider, "+
			"one of %s", strings.Join(webhook.Providers(), ", "))
	}
	return nil
}

// toldOf is one event with its meaning. A delivery has none.
func (d *diagnoser) toldOf(label string, e *feedback.Event) *toldEvent {
	x := &toldEvent{File: label, ToldBy: e.Provider, Kind: e.Kind, ProviderType: e.Type,
		ProviderClass: e.Class, Recipient: e.Recipient, Shared: e.Shared, Remote: e.Host, Status: e.Status,
		EventID: e.ID}
	if !e.Time.IsZero() {
		x.Time = e.Time.UTC().Format(time.RFC3339)
	}
	for _, k := range e.Keys {
		switch {
		case k.Kind == feedback.KeyQueueID && x.QueueID == "":
			x.QueueID = k.Value
		case k.Kind == feedback.KeyMessageID && x.MessageID == "":
			x.MessageID = "<" + k.Value + ">"
		case k.Kind == feedback.KeyProviderID && x.ProviderID == "":
			x.ProviderID = k.Value
		}
	}
	symptom := e.Symptom()
	if d.stage != "" {
		symptom.Stage = diagnose.Stage(d.stage)
	}
	x.explained = explainSymptom(d.engine, &symptom)
	if e.Kind == feedback.KindDelivered {
		x.Diagnosis = nil
	}
	return x
}

// printEvent prints one event.
func (d *diagnoser) printEvent(x *toldEvent) error {
	if x.Error != "" {
		d.failed = true
	}
	return d.printBlock(x, x.writeEvent)
}

// writeEvent writes an event for a person.
func (x *toldEvent) writeEvent(b *bytes.Buffer) {
	if x.Error != "" {
		fmt.Fprintln(b, printable(cmp.Or(x.File, "the payload")))
		item(b, "error", x.Error)
		return
	}
	who := cmp.Or(x.Recipient, "a recipient that the event does not name")
	fmt.Fprintln(b, printable(who+": "+string(x.Kind)+x.calls()))
	if said := x.said(); said != "" {
		paragraph(b, "  ", "  ", said)
	}
	if x.Diagnosis != nil {
		writeDiagnosis(b, x.Diagnosis)
	}
	if x.Shared {
		item(b, "note", "the provider names all recipients of the message, not the one that it means")
	}
	item(b, "server", x.Remote)
	item(b, "told by", x.ToldBy)
	item(b, "time", x.Time)
	item(b, "message", x.MessageID)
	item(b, "queue id", x.QueueID)
	item(b, "file", x.File)
}

// calls is what the provider calls the event, in brackets.
func (x *toldEvent) calls() string {
	names := x.ProviderType
	if x.ProviderClass != "" {
		names = strings.TrimPrefix(names+", "+x.ProviderClass, ", ")
	}
	if names == "" {
		return ""
	}
	return " (" + names + ")"
}
