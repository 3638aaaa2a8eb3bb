package admin

import (
	"context"
	"errors"
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

// handleWebhooks adds the routes of webhooks.
func (s *Server) handleWebhooks(mux *http.ServeMux) {
	mux.HandleFunc("GET /webhooks", func(w http.ResponseWriter, _ *http.Request) {
		states := []relay.WebhookState{}
		if s.o.Webhooks != nil {
			states = append(states, s.o.Webhooks.States()...)
		}
		reply(w, http.StatusOK, states)
	})
	mux.HandleFunc("POST /webhooks/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.actOnWebhook(r)
		if bad := (*badRequest)(nil); errors.As(err, &bad) {
			refuse(w, http.StatusBadRequest, err)
		} else if err != nil {
			refuse(w, status(err), err)
		} else {
			reply(w, http.StatusOK, answer)
		}
	})
}

// actOnWebhook does what a request asks for.
func (s *Server) actOnWebhook(r *http.Request) (answer any, err error) {
	name := r.PathValue("name")
	if s.o.Webhooks == nil {
		return nil, relay.UnknownWebhookError(name)
	}
	switch action := r.PathValue("action"); action {
	case "test":
		return s.o.Webhooks.Test(r.Context(), name)
	case "enable":
		return struct{}{}, s.o.Webhooks.Enable(r.Context(), name)
	case "replay":
		since, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
		if err != nil {
			return nil, &badRequest{fmt.Errorf("since: %w", err)}
		}
		n, err := s.o.Webhooks.Replay(r.Context(), name, since)
		return Replayed{n}, err
	default:
		return nil, &badRequest{fmt.Errorf("not something to do to a webhook: %q", action)}
	}
}

// Webhooks returns how the webhooks stand.
func (c *Client) Webhooks(ctx context.Context) (list []relay.WebhookState, err error) {
	err = c.ask(ctx, http.MethodGet, "/webhooks", nil, nil, &list)
	return list, err
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
	return c.ask(ctx, http.MethodPost, "/webhooks/"+url.PathEscape(name)+"/enable", nil, nil, new(struct{}))
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
