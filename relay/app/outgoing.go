package app

import (
	"errors"
	"io"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/convert"
)

// This file is what is done to a content at the attempt, on its way from the spool to an upstream: it is
// converted to what the upstream takes, and then signed. Nothing is done before the content is opened, since
// only the reply to EHLO tells what the upstream takes.

// prepare makes a transaction's content what is to leave. The transaction notes what was changed.
func (r *Relay) prepare(h *hop, t *relay.Transaction) {
	open, decided, needs := t.Open, false, convert.Needs{}
	t.Open = func() (io.ReadCloser, error) {
		if !decided { // once: the signatures are those of what was opened first
			c, known := h.Capabilities()
			needs, decided = needsOf(&r.cfg.Load().Content, t.Message, c, known), true
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
	r.signer.Load().Prepare(t)
}

// needsOf is what an upstream needs done to a message. One that was not reached yet is taken to need nothing.
func needsOf(conf *config.Content, m *relay.Message, c relay.Capabilities, known bool) convert.Needs {
	return convert.Needs{
		SevenBit:  known && (!c.EightBit || m.Envelope.SMTPUTF8 && !c.SMTPUTF8),
		LongLines: conf.WrapLongLines,
	}
}
