package deliverylog

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Version is that of the schema. It changes only when a field changes its meaning or goes away.
const Version = 1

// Line is one line of the log. A field that is zero is not known, and is not written; the null sender is the empty From of
// a line that has an ID and a To. docs/delivery-log.md defines each field.
type Line struct {
	V           int                 `json:"v"`
	Time        time.Time           `json:"time"`
	Event       relay.EventKind     `json:"event"`
	ID          string              `json:"id"`
	MessageID   string              `json:"message_id"`
	From        string              `json:"from"`
	To          string              `json:"to"`
	Client      string              `json:"client"`
	User        string              `json:"user"`
	Size        int64               `json:"size"`
	Upstream    string              `json:"upstream"`
	Host        string              `json:"host"`
	Remote      string              `json:"remote"`
	TLS         string              `json:"tls"`
	Stage       diagnose.Stage      `json:"stage"`
	Code        int                 `json:"code"`
	Enhanced    string              `json:"enhanced"`
	Reply       string              `json:"reply"` // in a Line: every byte; in JSON: see ReplyBase64
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
	DSN         string              `json:"dsn"`
	DSNKind     relay.NoticeKind    `json:"dsn_kind"`
	Note        string              `json:"note"`
	Diagnosis   *diagnose.Diagnosis `json:"diagnosis"`

	tried bool // there was an attempt, so that a duration or delay of nothing is known
}

// lineOf is the line of an event.
func lineOf(e *relay.Event) Line {
	l := Line{
		V: Version, Time: e.Time, Event: e.Kind, ID: e.ID, MessageID: e.MessageID, From: e.From, To: e.To,
		Client: e.Client, User: e.User, Size: e.Size, Upstream: e.Lane, Stage: e.Stage, Attempt: e.Attempt, DelayS: e.Delay.Seconds(),
		NextAttempt: e.NextAttempt, State: e.State, DSN: e.DSN, DSNKind: e.DSNKind, Note: e.Note, Diagnosis: e.Diagnosis,
	}
	r := diagnose.Reply{}
	if a := e.Tried; a != nil {
		l.tried = true
		l.Host, l.Remote, l.TLS, l.Stage = a.Host, a.Remote, a.TLS, a.Stage
		l.Error, l.ErrorText, l.DurationS = a.NetErr.Kind, a.NetErr.Text, a.Duration.Seconds()
		l.UpstreamID, l.Uncertain = a.UpstreamID, a.Uncertain
		if a.Upstream != "" {
			l.Upstream = a.Upstream
		}
		r = a.Reply
	} else if e.Reply != "" {
		r = diagnose.ParseReply(e.Reply)
	}
	l.Code, l.Enhanced, l.Reply = r.Code, r.Enhanced.String(), r.Raw
	return l
}

// hasSender reports whether From is known, if only as the null sender.
func (l *Line) hasSender() bool { return l.From != "" || (l.ID != "" && l.To != "") }

// Parse reads a line of the log. Fields of a later version that it does not know are passed over.
func Parse(b []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(b, &l); err != nil {
		return Line{}, err
	}
	if l.V < 1 || l.Event == "" {
		return Line{}, fmt.Errorf("no line of a delivery log")
	}
	if l.ReplyBase64 != nil {
		l.Reply, l.ReplyBase64 = string(l.ReplyBase64), nil
	}
	return l, nil
}

// AppendJSON appends l as a JSON object, without a line end.
func (l *Line) AppendJSON(b []byte) []byte {
	b = append(b, `{"v":1,"time":"`...)
	b = appendTime(b, l.Time)
	b = append(b, '"')
	b = appendField(b, "event", string(l.Event))
	b = appendField(b, "id", l.ID)
	b = appendField(b, "message_id", l.MessageID)
	if l.hasSender() {
		b = appendString(append(b, `,"from":`...), l.From)
	}
	b = appendField(b, "to", l.To)
	b = appendField(b, "client", l.Client)
	b = appendField(b, "user", l.User)
	b = appendInt(b, "size", l.Size)
	b = appendField(b, "upstream", l.Upstream)
	b = appendField(b, "host", l.Host)
	b = appendField(b, "remote", l.Remote)
	b = appendField(b, "tls", l.TLS)
	b = appendField(b, "stage", string(l.Stage))
	b = appendInt(b, "code", int64(l.Code))
	b = appendField(b, "enhanced", l.Enhanced)
	b = appendField(b, "reply", l.Reply)
	if !utf8.ValidString(l.Reply) {
		b = appendBase64(b, "reply_base64", l.Reply)
	}
	b = appendField(b, "error", string(l.Error))
	b = appendField(b, "error_text", l.ErrorText)
	b = appendInt(b, "attempt", int64(l.Attempt))
	b = appendSeconds(b, "delay_s", l.DelayS, l.tried && l.ID != "")
	b = appendSeconds(b, "duration_s", l.DurationS, l.tried)
	if !l.NextAttempt.IsZero() {
		b = append(appendTime(append(b, `,"next_attempt":"`...), l.NextAttempt), '"')
	}
	b = appendField(b, "upstream_id", l.UpstreamID)
	b = appendTrue(b, "uncertain", l.Uncertain)
	b = appendField(b, "state", l.State)
	b = appendField(b, "dsn", l.DSN)
	b = appendField(b, "dsn_kind", string(l.DSNKind))
	b = appendField(b, "note", l.Note)
	if l.Diagnosis != nil {
		b = appendDiagnosis(append(b, `,"diagnosis":`...), l.Diagnosis)
	}
	return append(b, '}')
}
