package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mailwhy/relay"
)

// Outcome is what became of one message at the operator's wish.
type Outcome struct {
	ID         string `json:"id"`
	Recipients int    `json:"recipients"`    // how many changed; 0: there was nothing to do
	Due        int    `json:"due,omitempty"` // how many are due now, after a retry or release
	Error      string `json:"error,omitempty"`
}

// editTimeout is how long an edit waits for the lease of its message to end.
const editTimeout = 30 * time.Second

// Outcomes are what became of a page of messages.
type Outcomes struct {
	Outcomes []Outcome `json:"outcomes"`
	Next     string    `json:"next,omitempty"` // for after, to go on; missing when all were visited
}

// onItsWay is the Error of a message that could not be changed because it is leased.
const onItsWay = "the message is on its way to the upstream; try again"

// actAll answers POST /v1/queue/ACTION.
func (s *Server) actAll(a Action) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var sel Selection
		if err := decode(r, &sel); err != nil {
			return nil, err
		}
		f, err := sel.filter()
		if err == nil && !Selects(f) && !sel.All {
			err = bad(`give ids, a filter, or "all": true`, "nothing selects the messages")
		}
		if err != nil {
			return nil, err
		}
		page := Outcomes{Outcomes: []Outcome{}}
		err = Each(r.Context(), s.o.Queue, f, func(m *relay.Message) error {
			page.Outcomes = append(page.Outcomes, s.edit(r.Context(), m.ID, actions(s.o.Now())[a]))
			page.Next = m.ID
			return r.Context().Err()
		})
		if len(page.Outcomes) < f.Limit {
			page.Next = ""
		}
		s.o.Control.TryNow()
		return page, err
	}
}

// actOne answers POST /v1/messages/ID/ACTION.
func (s *Server) actOne(a Action) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		id, err := idOf(r)
		if err == nil {
			_, err = One(r.Context(), s.o.Queue, id)
		}
		if err != nil {
			return nil, notQueued(err)
		}
		o := s.edit(r.Context(), id, actions(s.o.Now())[a])
		s.o.Control.TryNow()
		switch o.Error {
		case "":
			return o, nil
		case onItsWay:
			return nil, &fault{http.StatusConflict, fmt.Errorf("message %s is on its way to the upstream",
				id), "try again"}
		}
		return nil, fmt.Errorf("message %s: %s", id, o.Error)
	}
}

// errUnchanged ends an edit that has nothing to do.
var errUnchanged = errors.New("nothing to change")

// edit carries out one change and records its events.
func (s *Server) edit(ctx context.Context, id string, change change) Outcome {
	ctx, cancel := context.WithTimeout(ctx, editTimeout)
	defer cancel()
	var events []relay.Event
	var n, due int
	err := s.o.Queue.Edit(ctx, id, func(m *relay.Message) (relay.Settlement, bool, error) {
		before := append([]relay.Recipient(nil), m.Recipients...)
		var drop bool
		if n, drop = change(m); !drop {
			due = dueOf(m, s.o.Now())
		}
		if n == 0 {
			return relay.Settlement{}, false, errUnchanged
		}
		events = eventsOf(s.o.Now(), before, m, drop)
		return relay.Settlement{Recipients: m.Recipients}, drop, nil
	})
	switch {
	case errors.Is(err, errUnchanged):
		return Outcome{ID: id, Due: due}
	case errors.Is(err, context.DeadlineExceeded):
		return Outcome{ID: id, Error: onItsWay}
	case err != nil:
		return Outcome{ID: id, Error: err.Error()}
	}
	for _, e := range events {
		s.o.Record.Record(e)
	}
	return Outcome{ID: id, Recipients: n, Due: due}
}

// dueOf counts the recipients of m that are to be tried at now.
func dueOf(m *relay.Message, now time.Time) (n int) {
	for i := range m.Recipients {
		if m.Recipients[i].DueAt(now) {
			n++
		}
	}
	return n
}
