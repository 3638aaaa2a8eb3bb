package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mailwhy/diagnose"
	"mailwhy/diagnose/bounce"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// The bounds of what is read. What goes beyond is left out; of events, the error says so.
const (
	maxEvents = 10000 // of one request
	maxKey    = 998   // bytes of a key: the longest line of a message (RFC 5322, 2.1.1)
	maxErrors = 3     // of one request that are told
)

// text is a JSON string, or a number or truth value as it is written: providers are not of one mind about
// which of them an id, a code or a time is. Anything else is the empty text.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	switch {
	case len(b) > 1 && b[0] == '"':
		if plain := b[1 : len(b)-1]; bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
			*t = text(plain)
			return nil
		}
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = text(s)
	case string(b) != "null" && len(b) > 0 && b[0] != '{' && b[0] != '[':
		*t = text(b)
	}
	return nil
}

// yes reports whether the text is a true truth value.
func (t text) yes() bool { return t == "true" }

// code is the text as a number, 0 if it is none.
func (t text) code() int {
	n, err := strconv.Atoi(string(t))
	if err != nil {
		return 0
	}
	return n
}

// time reads a time: RFC 3339, the same in UTC without saying so, Unix seconds with or without a fraction, or
// milliseconds. Zero if it is none.
func (t text) time() time.Time {
	s := strings.TrimSpace(string(t))
	for _, layout := range []string{time.RFC3339, time.DateTime} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC()
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || !(n > 0 && n < 1e14): // not a number is none of them
		return time.Time{}
	case n >= 1e11: // seconds would be in the year 5138
		return time.UnixMilli(int64(n)).UTC()
	}
	return time.UnixMicro(int64(n * 1e6)).UTC()
}

// fields are named texts in an object, for keys that the application or the operator chooses.
type fields map[string]text

// UnmarshalJSON implements json.Unmarshaler. What is not an object has no fields: providers write an empty
// list or text where nothing was set.
func (f *fields) UnmarshalJSON(b []byte) error {
	*f = nil
	if len(b) > 0 && b[0] == '{' {
		return json.Unmarshal(b, (*map[string]text)(f))
	}
	return nil
}

// decode reads an object. A field of another type than is expected is left empty rather than losing the rest:
// providers change details without notice.
func decode(b []byte, object any) error {
	err := json.Unmarshal(b, object)
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) && mismatch.Field != "" {
		return nil
	}
	return err
}

// tagName is the name under which our queue id is given to providers that return such things.
const tagName = "mw"

// batch reads each event of a body that is a list of them, or one alone.
func batch(body []byte, one func(json.RawMessage) ([]feedback.Event, error)) ([]feedback.Event, error) {
	var list []json.RawMessage
	if body = bytes.TrimSpace(body); len(body) > 0 && body[0] == '[' {
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, err
		}
	} else {
		list = []json.RawMessage{body}
	}
	var bad problems
	if len(list) > maxEvents {
		bad.add(fmt.Errorf("%d events: only the first %d are read", len(list), maxEvents))
		list = list[:maxEvents]
	}
	var events []feedback.Event
	for i, element := range list {
		found, err := one(element)
		if err != nil {
			bad.add(fmt.Errorf("event %d: %w", i+1, err))
			continue
		}
		for j := range found {
			if found[j].Raw == nil {
				found[j].Raw = element
			}
		}
		events = append(events, found...)
	}
	return events, bad.err()
}

// problems are why parts of a request cannot be read: the first of them, and how many there are.
type problems struct {
	first []string
	n     int
}

func (p *problems) add(err error) {
	if p.n++; len(p.first) < maxErrors {
		p.first = append(p.first, err.Error())
	}
}

// err is all of it as one error of one line; nil if there is none.
func (p *problems) err() error {
	if p.n == 0 {
		return nil
	}
	text := strings.Join(p.first, "; ")
	if more := p.n - len(p.first); more > 0 {
		text += fmt.Sprintf("; and %d more like these", more)
	}
	return errors.New(text)
}

// spread makes one event for each recipient. The id of an event for several is made unique by theirs.
func spread(e feedback.Event, recipients []string) []feedback.Event {
	var events []feedback.Event
	for _, r := range recipients {
		one := e
		one.Recipient = r
		if len(recipients) > 1 && e.ID != "" {
			one.ID += "/" + strings.ToLower(r)
		}
		events = append(events, one)
	}
	return events
}

// tagged adds the queue id that a tag holds. Tags that others set are passed over.
func tagged(e *feedback.Event, tag text) {
	if relay.ValidID(string(tag)) {
		e.Keys = append(e.Keys, feedback.Key{Kind: feedback.KeyQueueID, Value: string(tag)})
	}
}

// identified adds the ids that the provider gave the message.
func identified(e *feedback.Event, ids ...text) {
	for _, id := range ids {
		addKey(e, feedback.KeyProviderID, string(id))
	}
}

// named adds a Message-ID, with or without its angle brackets.
func named(e *feedback.Event, messageID text) { addKey(e, feedback.KeyMessageID, string(messageID)) }

// addKey adds a key, without angle brackets around it, that is not empty and not there yet.
func addKey(e *feedback.Event, kind feedback.KeyKind, value string) {
	value = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(value), "<"), ">")
	if value == "" || len(value) > maxKey {
		return
	}
	for _, k := range e.Keys {
		if k.Kind == kind && k.Value == value {
			return
		}
	}
	e.Keys = append(e.Keys, feedback.Key{Kind: kind, Value: value})
}

// received adds the queue id of a Received field if a mailwhy wrote it.
func received(e *feedback.Event, value string) {
	if id, host := bounce.ReceivedID(value); relay.ValidID(id) {
		e.Keys = append(e.Keys, feedback.Key{Kind: feedback.KeyQueueID, Value: id, Host: host})
	}
}

// said puts a provider's wording where it belongs: what holds a reply code is a reply, all else its own
// words. The type in front of a Diagnostic-Code (RFC 3464, 2.3.6) is not part of the reply.
func said(e *feedback.Event, words text) {
	s := string(words)
	if len(s) >= 5 && strings.EqualFold(s[:5], "smtp;") {
		s = strings.TrimPrefix(s[5:], " ")
	}
	if diagnose.ParseReply(s).Code != 0 {
		e.Reply = s
		return
	}
	e.Text = s
}

// assembled is a reply whose code and text a provider tells apart: each line gets its code back (RFC 5321,
// 4.2.1).
func assembled(code int, wording text) string {
	lines := strings.Split(strings.TrimRight(string(wording), "\r\n"), "\n")
	if diagnose.ParseReply(lines[0]).Code == code {
		return string(wording) // it is there
	}
	var b strings.Builder
	for i, line := range lines {
		separator, end := "-", "\r\n"
		if i == len(lines)-1 {
			separator, end = " ", ""
		}
		b.WriteString(strconv.Itoa(code) + separator + strings.TrimSuffix(line, "\r") + end)
	}
	return b.String()
}

// complete gives an event without an id one that the same event always gets, from all that tells it from
// others.
func complete(e *feedback.Event) {
	if e.ID != "" {
		return
	}
	h := sha256.New()
	part := func(s string) { h.Write([]byte(strconv.Itoa(len(s)) + ":" + s)) }
	for _, s := range []string{
		string(e.Kind), strings.ToLower(e.Recipient), e.Time.String(), e.Type, e.Reply,
	} {
		part(s)
	}
	for _, k := range e.Keys {
		part(string(k.Kind))
		part(k.Value)
	}
	e.ID = "sha256-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// unsigned is the proof of a provider that signs nothing: the credentials, which Hook.Prove has checked.
type unsigned struct{}

func (unsigned) prove(context.Context, *Request, time.Time) error { return nil }

// string is the text as a string.
func (t text) string() string { return string(t) }

// orText is the text, or another one where it is empty.
func (t text) orText(other text) text {
	if t == "" {
		return other
	}
	return t
}

// or is orText as a string.
func (t text) or(other text) string { return string(t.orText(other)) }

// timeOr is the text's time, or another one where it has none.
func (t text) timeOr(other time.Time) time.Time {
	if at := t.time(); !at.IsZero() {
		return at
	}
	return other
}
