package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/admin/stream"
)

// The times of an event stream.
const (
	// Between comments, by which both sides see that the other is there, and between looks at the token.
	eventComment = 15 * time.Second
	eventWrite   = 30 * time.Second // for which a client may not read before it is let go
)

// eventFilter selects events of a stream.
type eventFilter struct {
	kinds, categories []string
	upstream, client  string
}

// newEventFilter reads it from a request.
func newEventFilter(r *http.Request) (f eventFilter, err error) {
	q := r.URL.Query()
	f = eventFilter{q["event"], q["category"], q.Get("upstream"), q.Get("client")}
	for _, kind := range f.kinds {
		if !slices.Contains(relay.EventKinds(), relay.EventKind(kind)) {
			return f, bad("docs/delivery-log.md lists them", "not an event: %q", kind)
		}
	}
	return f, nil
}

// selects reports whether the filter lets an event pass.
func (f *eventFilter) selects(e *relay.Event) bool {
	category := ""
	if e.Diagnosis != nil {
		category = string(e.Diagnosis.Category)
	}
	return (len(f.kinds) == 0 || slices.Contains(f.kinds, string(e.Kind))) &&
		(len(f.categories) == 0 || slices.Contains(f.categories, category)) &&
		(f.upstream == "" || f.upstream == e.Lane) && (f.client == "" || f.client == e.Client)
}

// events answers GET /v1/events.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	f, err := newEventFilter(r)
	if err != nil {
		return err
	}
	follower, err := s.o.Events.Follow(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return &fault{http.StatusServiceUnavailable, err, "close another stream, or try again later"}
	}
	defer follower.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // else nginx keeps events back
	out := &eventWriter{rc: http.NewResponseController(w), w: w}
	out.rc.SetReadDeadline(time.Time{})
	if out.write("retry: 3000\n\n") == nil {
		s.follow(r, follower, &f, out)
	}
	return nil // there is nothing to answer any more
}

// follow writes events until the client goes away, reads too slowly, its token is revoked or expires, or the
// relay stops.
func (s *Server) follow(r *http.Request, f *stream.Follower, filter *eventFilter, out *eventWriter) {
	ctx, looked := r.Context(), time.Now()
	for {
		if time.Since(looked) >= s.comment {
			if who, err := s.identify(r); err != nil || !who.May(access.Events) {
				return
			}
			looked = time.Now()
		}
		wait, cancel := context.WithTimeout(ctx, s.comment)
		id, e, err := f.Next(wait)
		cancel()
		missed, isMissed := errors.AsType[*stream.Missed](err)
		switch {
		case isMissed:
			err = out.missed(missed)
		case err == nil && filter.selects(&e):
			err = out.event(id, string(e.Kind), s.o.Encode(&e))
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = out.write(": still here\n\n")
		}
		if err != nil {
			return
		}
	}
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// event writes one event.
func (o *eventWriter) event(id, kind string, data []byte) error {
	return o.write("id: " + id + "\nevent: " + kind + "\ndata: " + string(data) + "\n\n")
}

// missed says that events are missing.
func (o *eventWriter) missed(m *stream.Missed) error {
	data, err := json.Marshal(struct {
		Events uint64 `json:"events,omitempty"`
		Why    string `json:"why"`
	}{m.Events, m.Error()})
	if err != nil {
		return err
	}
	return o.write("event: missed\ndata: " + string(data) + "\n\n")
}

// write sends text at once. The server's own deadline would end the stream: each write has one of its own.
func (o *eventWriter) write(text string) error {
	o.rc.SetWriteDeadline(time.Now().Add(eventWrite))
	if _, err := fmt.Fprint(o.w, text); err != nil {
		return err
	}
	return o.rc.Flush()
}

// EraseEvents removes the events that name an address from the history of the page; with act false it counts
// only.
type EraseEvents func(ctx context.Context, address string, act bool) (ErasedEvents, error)

// ErasedEvents counts what the history of the page has of an address.
type ErasedEvents struct {
	Events   int64 `json:"events"`   // in which it stands, as it is or as its hash
	Examples int64 `json:"examples"` // of reasons, in which it stands
}

// eraseEvents answers POST /v1/events/erase.
func (s *Server) eraseEvents(r *http.Request) (any, error) {
	if s.o.EraseEvents == nil {
		return nil, &fault{http.StatusConflict, errors.New("the history of the page is off"),
			`page.listen, or page.history = "on", keeps one`}
	}
	address, act, err := erasing(r)
	if err != nil {
		return nil, err
	}
	return s.o.EraseEvents(r.Context(), address, act)
}
