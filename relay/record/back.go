package record

import (
	"math"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Event is the relay's form of what was written: the reverse of New, as far as it goes.
func (e *Event) Event() relay.Event {
	out := relay.Event{
		Time: e.Time, Kind: e.Kind, ID: e.ID, Mail: e.Mail, MessageID: e.MessageID, From: e.From, To: e.To,
		TraceID: e.TraceID, SpanID: e.SpanID,
		Given: e.Given, Client: e.Client, User: e.User, Size: e.Size, Changed: e.Changed, Lane: e.Upstream,
		Route: e.Route, Policy: e.Policy, Attempt: e.Attempt, Delay: seconds(e.DelayS),
		NextAttempt: e.NextAttempt, State: e.State, Webhook: e.Webhook, DSN: e.DSN, DSNKind: e.DSNKind,
		Note: e.Note, Diagnosis: e.Diagnosis, Suppression: e.Suppression,
	}
	if e.Kind == relay.EventRefused {
		out.Stage, out.Reply = e.Stage, e.Reply
	} else if e.Stage != "" {
		out.Tried = &relay.Attempt{
			Time: e.Time, Duration: seconds(e.DurationS), Upstream: e.Upstream, Host: e.Host,
			Remote: e.Remote, TLS: e.TLS, Stage: e.Stage,
			NetErr:     diagnose.NetErr{Kind: e.Error, Text: e.ErrorText},
			UpstreamID: e.UpstreamID, Uncertain: e.Uncertain,
		}
		if e.Reply != "" {
			out.Tried.Reply = diagnose.ParseReply(e.Reply)
		} else {
			out.Tried.Status = e.Enhanced
		}
	}
	if e.Source != "" {
		out.Feedback = &relay.Feedback{Source: e.Source, Provider: e.Provider, ProviderType: e.ProviderType,
			EventID: e.EventID, Trust: e.Trust, MatchedBy: e.MatchedBy, ReportedAt: e.ReportedAt}
	}
	return out
}

// seconds is a duration as it was written, to the millisecond.
func seconds(s float64) time.Duration { return time.Duration(math.Round(s*1000)) * time.Millisecond }
