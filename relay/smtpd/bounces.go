package smtpd

import (
	"context"
	"errors"
	"io"

	"mailwhy/relay"
	"mailwhy/relay/smtpd/refusal"
)

// Bounces is what the listeners for bounce mail do (Listen.Bounces). They take mail of anybody, without AUTH
// and with any sender, but only to addresses that are expected, and relay nothing. All fields are required.
type Bounces struct {
	// Expected reports whether bounce mail may come to an address: to a return path of ours.
	Expected func(address string) bool
	// Take makes a mail durable before it returns nil. ErrNotBounce refuses it for good, any other error
	// makes the client come again. It keeps no reference to the Bounce.
	Take func(context.Context, *Bounce) error
	// Keep is how many bytes of a mail are kept. The rest is read and dropped: it is the body of what came
	// back, and a mail that is refused for its size is lost.
	Keep int
}

// ErrNotBounce says that a mail is no bounce mail: a person may have written it, so it is not taken.
var ErrNotBounce = errors.New("not bounce mail")

// Bounce is a mail that came to a listener for bounce mail.
type Bounce struct {
	From    string   // reverse-path; "" is the null sender
	To      []string // all of them expected
	Peer    string   // IP address of the client; "" for a unix socket
	Hello   string   // the name that it gave itself, cleaned
	Content []byte   // with CRLF, and without a field of ours
	Cut     bool     // Content is only the beginning
}

// check reports fields that are missing.
func (b *Bounces) check() error {
	if b != nil && (b.Expected == nil || b.Take == nil || b.Keep <= 0) {
		return errors.New("smtpd: every field of Bounces must be set")
	}
	return nil
}

// bouncesReady returns an error if a listener is for bounce mail and the options do not say what becomes of
// it.
func bouncesReady(l *Listen, o *Options) error {
	if l.Bounces && o.Bounces == nil {
		return errors.New("listener " + l.Addr + ": role bounces without a return path")
	}
	return nil
}

// expect refuses a recipient to whom no bounce mail may come.
func (s *session) expect(address string) error {
	if s.options.Bounces.Expected(address) {
		return nil
	}
	return refusal.New("no_return_path")
}

// takeBounce is Data of a listener for bounce mail.
func (s *session) takeBounce() error {
	o := s.options.Bounces
	body := &contentReader{
		session: s, content: s.wire.Content(), message: new(relay.Message), keep: int64(o.Keep),
	}
	defer body.release()
	if body.content == nil {
		return refusal.New("internal_error")
	}
	b := &Bounce{From: s.tx.envelope.From, Peer: s.addrString(), Hello: s.hello}
	for i := range s.tx.recipients {
		b.To = append(b.To, s.tx.recipients[i].Address)
	}
	var err error
	if b.Content, err = io.ReadAll(io.LimitReader(body, body.keep)); err == nil {
		var rest int64
		rest, err = io.Copy(io.Discard, body)
		b.Cut = rest > 0
	}
	if err != nil {
		return s.contentReply(err)
	}
	switch err := o.Take(s.server.ctx, b); {
	case err == nil:
		s.messages++
		s.errs, s.others, s.overshoot = 0, 0, 0
		return took("Ok: bounce mail taken")
	case errors.Is(err, ErrNotBounce):
		return refusal.New("not_a_bounce")
	default:
		s.options.Log.Error("bounce mail not taken", "client", s.clientName(), "err", err)
		return refusal.New("not_stored")
	}
}
