// Package record holds the one JSON form of an Event: schema v1, which docs/delivery-log.md defines and a
// test compares with it. The delivery log writes it, a line for each event, and `mailwhy log` and `mailwhy
// diagnose` read it; whatever else hands events to other programs (webhooks, a page) uses the same form.
// Each recorder has a package of its own below this one.
//
// What always holds: an object is one line of valid UTF-8 without raw control or invisible characters, so
// it is safe to show on a terminal; a field that is not known is left out, and never null; the upstream's
// reply is there byte for byte; within a version of the schema fields are only added. Encoding uses no
// reflection, since it runs for each event.
package record

import (
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Version is the version of the schema. It changes only when a field changes its meaning or goes away.
const Version = 1

// Event is a relay.Event as other programs read it. A field that is zero is not known, and is not written;
// the null sender is the empty From of an Event that has an ID and a To. docs/delivery-log.md defines each
// field.
type Event struct {
	V           int                 `json:"v"`
	Time        time.Time           `json:"time"`
	Kind        relay.EventKind     `json:"event"`
	ID          string              `json:"id"`
	Mail        string              `json:"mail"`
	MessageID   string              `json:"message_id"`
	TraceID     string              `json:"trace_id"`
	SpanID      string              `json:"span_id"`
	From        string              `json:"from"`
	To          string              `json:"to"`
	Given       []string            `json:"given"`
	Client      string              `json:"client"`
	User        string              `json:"user"`
	Size        int64               `json:"size"`
	Changed     []string            `json:"changed"`
	Upstream    string              `json:"upstream"`
	Route       string              `json:"route"`
	Policy      string              `json:"policy"`
	Host        string              `json:"host"`
	Remote      string              `json:"remote"`
	TLS         string              `json:"tls"`
	Stage       diagnose.Stage      `json:"stage"`
	Code        int                 `json:"code"`
	Enhanced    string              `json:"enhanced"`
	Reply       string              `json:"reply"` // here every byte; in JSON see ReplyBase64
	ReplyBase64 []byte              `json:"reply_base64"`
	Error       diagnose.NetKind    `json:"error"`
	ErrorText   string              `json:"error_text"`
	Attempt     int                 `json:"attempt"`
	DelayS      float64             `json:"delay_s"`
	DurationS   float64             `json:"duration_s"`
	NextAttempt time.Time           `json:"next_attempt"`
	UpstreamID  string              `json:"upstream_id"`
	Uncertain   bool                `json:"uncertain"`
	State       string              `json:"state"`
	Webhook     string              `json:"webhook"`
	DSN         string              `json:"dsn"`
	DSNKind     relay.NoticeKind    `json:"dsn_kind"`
	Note        string              `json:"note"`
	Diagnosis   *diagnose.Diagnosis `json:"diagnosis"`
	Suppression *relay.Suppression  `json:"suppression"`

	// Of what became known after the upstream's 250.
	Source       string      `json:"source"`
	Provider     string      `json:"provider"`
	ProviderType string      `json:"provider_type"`
	EventID      string      `json:"event_id"`
	Trust        relay.Trust `json:"trust"`
	MatchedBy    string      `json:"matched_by"`
	ReportedAt   time.Time   `json:"reported_at"`

	tried bool // there was an attempt, so that a duration or delay of 0 is known
}

// New is the written form of e.
func New(e *relay.Event) Event {
	out := Event{
		V: Version, Time: e.Time, Kind: e.Kind, ID: e.ID, Mail: e.Mail, MessageID: e.MessageID, From: e.From,
		TraceID: e.TraceID, SpanID: e.SpanID,
		To: e.To, Given: e.Given, Client: e.Client, User: e.User, Size: e.Size, Changed: e.Changed,
		Upstream: e.Lane, Route: e.Route, Policy: e.Policy, Stage: e.Stage, Attempt: e.Attempt,
		DelayS: e.Delay.Seconds(), NextAttempt: e.NextAttempt, State: e.State, Webhook: e.Webhook, DSN: e.DSN,
		DSNKind: e.DSNKind, Note: e.Note,
		Diagnosis: e.Diagnosis, Suppression: e.Suppression,
	}
	r := diagnose.Reply{}
	if a := e.Tried; a != nil {
		out.tried = a.Stage != diagnose.StageRemote // the upstream's own attempts are not timed
		out.Host, out.Remote, out.TLS, out.Stage = a.Host, a.Remote, a.TLS, a.Stage
		out.Error, out.ErrorText, out.DurationS = a.NetErr.Kind, a.NetErr.Text, a.Duration.Seconds()
		out.UpstreamID, out.Uncertain = a.UpstreamID, a.Uncertain
		if a.Upstream != "" {
			out.Upstream = a.Upstream
		}
		r = a.Reply
	} else if e.Reply != "" {
		r = diagnose.ParseReply(e.Reply)
	}
	out.Code, out.Enhanced, out.Reply = r.Code, r.Enhanced.String(), r.Raw
	if f := e.Feedback; f != nil {
		out.Source, out.Provider, out.ProviderType = f.Source, f.Provider, f.ProviderType
		out.EventID, out.Trust, out.MatchedBy, out.ReportedAt = f.EventID, f.Trust, f.MatchedBy, f.ReportedAt
		if out.Enhanced == "" && e.Tried != nil {
			out.Enhanced = e.Tried.Status
		}
	}
	return out
}

// HasSender reports whether From is known, if only as the null sender.
func (e *Event) HasSender() bool { return e.From != "" || (e.ID != "" && e.To != "") }

// Parse reads what AppendJSON wrote. It ignores fields that it does not know, such as those of a later
// version.
func Parse(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return Event{}, err
	}
	if e.V < 1 || e.Kind == "" {
		return Event{}, errors.New("not an event of a delivery log")
	}
	if e.ReplyBase64 != nil {
		e.Reply, e.ReplyBase64 = string(e.ReplyBase64), nil
	}
	return e, nil
}

// AppendJSON appends e as a JSON object, without a line end.
func (e *Event) AppendJSON(b []byte) []byte {
	b = append(b, `{"v":1,"time":"`...)
	b = appendTime(b, e.Time)
	b = append(b, '"')
	b = appendField(b, "event", string(e.Kind))
	b = appendField(b, "id", e.ID)
	b = appendField(b, "mail", e.Mail)
	b = appendField(b, "message_id", e.MessageID)
	b = appendField(b, "trace_id", e.TraceID)
	b = appendField(b, "span_id", e.SpanID)
	if e.HasSender() {
		b = appendString(append(b, `,"from":`...), e.From)
	}
	b = appendField(b, "to", e.To)
	b = appendList(b, "given", e.Given)
	b = appendField(b, "client", e.Client)
	b = appendField(b, "user", e.User)
	b = appendInt(b, "size", e.Size)
	b = appendList(b, "changed", e.Changed)
	b = appendField(b, "upstream", e.Upstream)
	b = appendField(b, "route", e.Route)
	b = appendField(b, "policy", e.Policy)
	b = appendField(b, "host", e.Host)
	b = appendField(b, "remote", e.Remote)
	b = appendField(b, "tls", e.TLS)
	b = appendField(b, "stage", string(e.Stage))
	b = appendInt(b, "code", int64(e.Code))
	b = appendField(b, "enhanced", e.Enhanced)
	b = appendField(b, "reply", e.Reply)
	if !utf8.ValidString(e.Reply) {
		b = appendBase64(b, "reply_base64", e.Reply)
	}
	b = appendField(b, "error", string(e.Error))
	b = appendField(b, "error_text", e.ErrorText)
	b = appendInt(b, "attempt", int64(e.Attempt))
	b = appendSeconds(b, "delay_s", e.DelayS, e.tried && e.ID != "")
	b = appendSeconds(b, "duration_s", e.DurationS, e.tried)
	if !e.NextAttempt.IsZero() {
		b = append(appendTime(append(b, `,"next_attempt":"`...), e.NextAttempt), '"')
	}
	b = appendField(b, "upstream_id", e.UpstreamID)
	b = appendTrue(b, "uncertain", e.Uncertain)
	b = appendField(b, "state", e.State)
	b = appendField(b, "webhook", e.Webhook)
	b = appendField(b, "dsn", e.DSN)
	b = appendField(b, "dsn_kind", string(e.DSNKind))
	b = appendField(b, "note", e.Note)
	if e.Diagnosis != nil {
		b = appendDiagnosis(append(b, `,"diagnosis":`...), e.Diagnosis)
	}
	if e.Suppression != nil {
		b = appendSuppression(append(b, `,"suppression":`...), e.Suppression)
	}
	if e.Source != "" {
		b = e.appendFeedback(b)
	}
	return append(b, '}')
}

// appendFeedback appends what an event rests on that became known after the upstream's 250.
func (e *Event) appendFeedback(b []byte) []byte {
	b = appendField(b, "source", e.Source)
	b = appendField(b, "provider", e.Provider)
	b = appendField(b, "provider_type", e.ProviderType)
	b = appendField(b, "event_id", e.EventID)
	b = appendField(b, "trust", string(e.Trust))
	b = appendField(b, "matched_by", e.MatchedBy)
	if !e.ReportedAt.IsZero() {
		b = append(appendTime(append(b, `,"reported_at":"`...), e.ReportedAt), '"')
	}
	return b
}
