package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"mailwhy/relay"
)

// Webhooks are the operator's applications to which events are sent. A webhook that is not there is an error
// that wraps relay.ErrNotFound.
type Webhooks interface {
	// States are how they stand, by name.
	States() []relay.WebhookState
	// Test sends a test event and waits for the answer.
	Test(ctx context.Context, name string) (relay.WebhookTest, error)
	// Replay sends the events since a time again, and returns how many those are that were sent before.
	Replay(ctx context.Context, name string, since time.Time) (int64, error)
	// Enable lets a webhook go on that is disabled or waits.
	Enable(ctx context.Context, name string) error
}

// Replayed is how many events are sent again.
type Replayed struct {
	Events int64 `json:"events"`
}

// WebhookStates is how all webhooks stand.
type WebhookStates struct {
	Webhooks []relay.WebhookState `json:"webhooks"`
}

// webhooks answers GET /v1/webhooks.
func (s *Server) webhooks(*http.Request) (any, error) { return WebhookStates{s.webhookStates()}, nil }

// webhookStates is how all webhooks stand.
func (s *Server) webhookStates() []relay.WebhookState {
	states := []relay.WebhookState{}
	if s.o.Webhooks != nil {
		states = append(states, s.o.Webhooks.States()...)
	}
	return states
}

// webhook answers GET /v1/webhooks/NAME.
func (s *Server) webhook(r *http.Request) (any, error) {
	for _, w := range s.webhookStates() {
		if w.Name == r.PathValue("name") {
			return w, nil
		}
	}
	return nil, relay.UnknownWebhookError(r.PathValue("name"))
}

// testWebhook answers POST /v1/webhooks/NAME/test.
func (s *Server) testWebhook(r *http.Request) (any, error) {
	if _, err := s.webhook(r); err != nil {
		return nil, err
	}
	return s.o.Webhooks.Test(r.Context(), r.PathValue("name"))
}

// replayWebhook answers POST /v1/webhooks/NAME/replay.
func (s *Server) replayWebhook(r *http.Request) (any, error) {
	if _, err := s.webhook(r); err != nil {
		return nil, err
	}
	since, err := timeOf(r.URL.Query(), "since")
	if err == nil && since.IsZero() {
		err = bad("write since=2026-11-29T12:00:00Z", "since is missing")
	}
	if err != nil {
		return nil, err
	}
	n, err := s.o.Webhooks.Replay(r.Context(), r.PathValue("name"), since)
	return Replayed{n}, err
}

// enableWebhook answers POST /v1/webhooks/NAME/enable.
func (s *Server) enableWebhook(r *http.Request) (any, error) {
	if _, err := s.webhook(r); err != nil {
		return nil, err
	}
	if err := s.o.Webhooks.Enable(r.Context(), r.PathValue("name")); err != nil {
		return nil, err
	}
	return s.webhook(r)
}

// Webhooks returns how the webhooks stand.
func (c *Client) Webhooks(ctx context.Context) (list []relay.WebhookState, err error) {
	var all WebhookStates
	err = c.ask(ctx, http.MethodGet, "/webhooks", nil, nil, &all)
	return all.Webhooks, err
}

// TestWebhook sends a test event to a webhook.
func (c *Client) TestWebhook(ctx context.Context, name string) (t relay.WebhookTest, err error) {
	err = c.ask(ctx, http.MethodPost, "/webhooks/"+url.PathEscape(name)+"/test", nil, nil, &t)
	return t, err
}

// ReplayWebhook sends the events since a time again, and returns how many those are that were sent before.
func (c *Client) ReplayWebhook(ctx context.Context, name string, since time.Time) (int64, error) {
	var n Replayed
	q := url.Values{"since": {since.Format(time.RFC3339)}}
	err := c.ask(ctx, http.MethodPost, "/webhooks/"+url.PathEscape(name)+"/replay", q, nil, &n)
	return n.Events, err
}

// EnableWebhook lets a webhook go on that is disabled or waits.
func (c *Client) EnableWebhook(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodPost, "/webhooks/"+url.PathEscape(name)+"/enable", nil, nil,
		new(relay.WebhookState))
}

// webhookNotes say of the webhooks that do not get their events since when and why.
func (s *Server) webhookNotes() (notes []string) {
	if s.o.Webhooks == nil {
		return nil
	}
	for _, w := range s.o.Webhooks.States() {
		what, fix := "fails", ""
		switch w.State {
		case relay.WebhookOK:
			continue
		case relay.WebhookDisabled:
			what, fix = "is disabled", "; mailwhy webhook enable "+w.Name+" lets it go on"
		}
		notes = append(notes, fmt.Sprintf("webhook %s %s%s: %s; %d events wait%s", w.Name, what,
			since(w.Since, nil), w.Why, w.Backlog, fix))
	}
	return notes
}
