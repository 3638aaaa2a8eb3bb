// Package outgoing is what is done to mail between the front door and an upstream, by a configuration: in
// front of the spool, recipients are replaced and added; at each attempt, the header is rewritten, the
// content is converted to what the upstream takes, and then signed. relay/app calls it at both places, and
// `mailwhy rewrite` shows what it does.
//
// An Outgoing never changes; a reload makes another one. It opens no content before the upstream does, since
// only the reply to EHLO tells what the upstream takes.
package outgoing

import (
	"errors"
	"io"
	"log/slog"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/convert"
	"mailwhy/relay/rewrite"
	"mailwhy/relay/sign"
)

// Outgoing does it. It is safe for concurrent use.
type Outgoing struct {
	*rewrite.Rewriter
	signer        *sign.Signer // nil: nothing is signed
	wrapLongLines bool
}

// New makes it of a configuration.
func New(cfg *config.Config, log *slog.Logger) (*Outgoing, error) {
	rewriter, errRewrite := rewrite.New(rewriteOptions(cfg, log))
	signer, errSign := sign.New(signOptions(cfg, log))
	return &Outgoing{rewriter, signer, cfg.Content.WrapLongLines}, errors.Join(errRewrite, errSign)
}

// Prepare makes a transaction's content what is to leave. The transaction notes what was changed.
func (o *Outgoing) Prepare(t *relay.Transaction, capabilities func() (relay.Capabilities, bool)) {
	o.Rewriter.Prepare(t)
	o.convert(t, capabilities)
	o.signer.Prepare(t)
}

// convert has the content converted to what the upstream takes.
func (o *Outgoing) convert(t *relay.Transaction, capabilities func() (relay.Capabilities, bool)) {
	open, decided, needs := t.Open, false, convert.Needs{}
	t.Open = func() (io.ReadCloser, error) {
		if !decided { // once: the signatures are those of what was opened first
			c, known := capabilities()
			needs, decided = o.needs(t.Message, c, known), true
		}
		if needs == (convert.Needs{}) {
			return open()
		}
		content, changed, err := convert.Open(open, needs)
		if _, cannot := errors.AsType[*convert.Error](err); cannot {
			return open() // it is refused for what it is, with a diagnosis of that
		}
		if changed && needs.SevenBit {
			t.Note("converted to 7bit")
		} else if changed {
			t.Note("long lines encoded")
		}
		return content, err
	}
}

// needs is what an upstream needs done to a message. One that was not reached yet is taken to need nothing.
func (o *Outgoing) needs(m *relay.Message, c relay.Capabilities, known bool) convert.Needs {
	return convert.Needs{
		SevenBit:  known && (!c.EightBit || m.Envelope.SMTPUTF8 && !c.SMTPUTF8),
		LongLines: o.wrapLongLines,
	}
}
