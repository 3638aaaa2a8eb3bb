package feedback

import (
	"cmp"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Attempt is the event as the last attempt for its recipient, through the named upstream, whose host is the
// one that reports unless the event came by mail.
func (e *Event) Attempt(upstream, host string) relay.Attempt {
	a := relay.Attempt{
		Time: e.Time, Upstream: upstream, Host: e.Host, Stage: diagnose.StageRemote,
		Reply: diagnose.ParseReply(e.Reply), Status: e.Status, ReportedBy: host,
	}
	if e.Reply == "" {
		a.NetErr.Text = e.Text
	}
	if e.Source != SourceWebhook {
		a.ReportedBy = cmp.Or(e.Provider, host)
	}
	return a
}

// Symptom is what the engine is asked about the event; the caller adds the facts of the message. The Status
// speaks where the reply has no enhanced code.
func (e *Event) Symptom() diagnose.Symptom {
	s := diagnose.Symptom{
		Stage: diagnose.StageRemote, Reply: diagnose.ParseReply(e.Reply), Text: e.Text, Upstream: e.Host,
		Final: e.Kind == KindBounced || e.Kind == KindDropped,
		Facts: diagnose.Facts{Recipient: cmp.Or(e.Original, e.Recipient),
			Provider: e.Provider, ProviderType: e.Type, ProviderClass: e.Class,
			Complaint: e.Kind == KindComplained},
	}
	if told, ok := diagnose.ParseEnhanced(e.Status); ok && s.Reply.Enhanced.IsZero() &&
		(told.Subject != 0 || told.Detail != 0) {
		s.Reply.Enhanced = told
	}
	return s
}
