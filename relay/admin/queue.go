package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Summary is a message in a list.
type Summary struct {
	ID         string             `json:"id"`
	Mail       string             `json:"mail,omitempty"` // see relay.Message
	Lane       string             `json:"lane"`
	From       string             `json:"from"`
	MessageID  string             `json:"message_id,omitempty"`
	Client     string             `json:"client,omitempty"`
	Size       int64              `json:"size"`
	Arrived    time.Time          `json:"arrived"`
	Report     bool               `json:"report,omitempty"` // a bounce of our own
	Recipients []RecipientSummary `json:"recipients"`
}

// RecipientSummary is a recipient in a list.
type RecipientSummary struct {
	Address     string            `json:"address"`
	State       relay.State       `json:"state"`
	Attempts    int               `json:"attempts,omitempty"`
	NextAttempt time.Time         `json:"next_attempt,omitzero"`
	WaitsFor    string            `json:"waits_for,omitempty"` // relay.WaitsForUpstream or WaitsForSender
	NextTry     time.Time         `json:"next_try,omitzero"`   // with WaitsFor: when it is really tried
	Code        int               `json:"code,omitempty"`
	Enhanced    string            `json:"enhanced,omitempty"`
	Category    diagnose.Category `json:"category,omitempty"`
	Reason      diagnose.Reason   `json:"reason,omitempty"`
	HeldWhy     string            `json:"held_why,omitempty"`
}

// Summarize makes the Summary of m, whose lane is one of lanes; none are known of a relay that does not run.
func Summarize(m *relay.Message, lanes []relay.LaneState) Summary {
	lane := laneOf(m, lanes)
	s := Summary{
		ID: m.ID, Mail: m.Mail, Lane: m.Lane, From: m.Envelope.From, MessageID: m.MessageID,
		Client: m.Client.Name,
		Size:   m.Size, Arrived: m.Arrived, Report: m.Report,
		Recipients: make([]RecipientSummary, len(m.Recipients)),
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		s.Recipients[i] = RecipientSummary{Address: r.Address, State: r.State, Attempts: r.Attempts,
			HeldWhy: r.HeldWhy}
		if r.Waiting() {
			s.Recipients[i].NextAttempt = r.NextAttempt
			if next, waitsFor := lane.NextTry(m.Envelope.From, r.NextAttempt); waitsFor != "" {
				s.Recipients[i].NextTry, s.Recipients[i].WaitsFor = next, waitsFor
			}
		}
		if r.Last != nil {
			s.Recipients[i].Code, s.Recipients[i].Enhanced = r.Last.Reply.Code, r.Last.Reply.Enhanced.String()
		}
		if r.Diagnosis != nil {
			s.Recipients[i].Category, s.Recipients[i].Reason = r.Diagnosis.Category, r.Diagnosis.Reason
		}
	}
	return s
}

// laneOf is the state of m's lane; the zero state when it is not among lanes.
func laneOf(m *relay.Message, lanes []relay.LaneState) *relay.LaneState {
	for i := range lanes {
		if lanes[i].Name == m.Lane {
			return &lanes[i]
		}
	}
	return &relay.LaneState{}
}

// Shown is a message with all that is known of it. Upstream says how its lane stands, when that is paused or
// slowed or has paused senders.
type Shown struct {
	*relay.Message
	Upstream *relay.LaneState `json:"upstream,omitempty"`
}

// Show makes the Shown of m, whose lane is one of lanes.
func Show(m *relay.Message, lanes []relay.LaneState) Shown {
	s := Shown{Message: m}
	if l := laneOf(m, lanes); l.Paused || l.Slowed || len(l.Senders) > 0 {
		s.Upstream = l
	}
	return s
}

// pageSize is how many messages are read from the spool at a time.
const pageSize = 200

// Each calls each for every message that f selects, in id order, until it returns an error. The queue is
// read page by page, and each is called between the pages: it may take its time.
func Each(ctx context.Context, queue relay.Lister, f relay.QueueFilter,
	each func(*relay.Message) error) error {
	for left := f.Limit; ; {
		page := f
		page.Limit = pageSize
		if f.Limit > 0 {
			page.Limit = min(pageSize, left)
		}
		var got []*relay.Message
		err := queue.List(ctx, page, func(m *relay.Message) bool { got = append(got, m); return true })
		if err != nil {
			return err
		}
		for _, m := range got {
			if err := each(m); err != nil {
				return err
			}
		}
		left -= len(got)
		if len(got) < page.Limit || f.Limit > 0 && left <= 0 {
			return nil
		}
		f.After = got[len(got)-1].ID
	}
}

// One returns the message id, or an error that wraps relay.ErrNotFound.
func One(ctx context.Context, queue relay.Lister, id string) (*relay.Message, error) {
	var found *relay.Message
	err := queue.List(ctx, relay.QueueFilter{IDs: []string{id}},
		func(m *relay.Message) bool { found = m; return false })
	if err == nil && found == nil {
		err = fmt.Errorf("%s: %w", id, relay.ErrNotFound)
	}
	return found, err
}

// QueuePage is a page of the queue.
type QueuePage struct {
	Messages []Summary `json:"messages"`
	Next     string    `json:"next,omitempty"` // for after; missing on the last page
}

// list answers GET /v1/queue.
func (s *Server) list(r *http.Request) (any, error) {
	sel, err := selection(r.URL.Query())
	if err != nil {
		return nil, err
	}
	f, err := sel.filter()
	if err != nil {
		return nil, err
	}
	lanes := s.o.Control.Lanes()
	page := QueuePage{Messages: []Summary{}}
	limit := f.Limit
	f.Limit++ // to see whether there is another page
	err = Each(r.Context(), s.o.Queue, f, func(m *relay.Message) error {
		if len(page.Messages) == limit {
			page.Next = page.Messages[limit-1].ID
			return nil
		}
		page.Messages = append(page.Messages, Summarize(m, lanes))
		return nil
	})
	return page, err
}

// show answers GET /v1/messages/ID.
func (s *Server) show(r *http.Request) (any, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	m, err := One(r.Context(), s.o.Queue, id)
	if err != nil {
		return nil, notQueued(err)
	}
	return Show(m, s.o.Control.Lanes()), nil
}

// idOf is the queue id in a path.
func idOf(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !relay.ValidID(id) {
		return "", bad("the 250 of the message names it", "not a queue id: %q", id)
	}
	return id, nil
}

// notQueued adds where a message may be found that is not in the queue.
func notQueued(err error) error {
	if errors.Is(err, relay.ErrNotFound) {
		return &fault{http.StatusNotFound, err, "it may have left the queue: ask for its history"}
	}
	return err
}

// QueueSummary counts what waits. A message counts once for each state and category of its recipients.
type QueueSummary struct {
	Messages   int64            `json:"messages"`
	Recipients int64            `json:"recipients"`
	Bytes      int64            `json:"bytes"` // of contents
	Oldest     time.Time        `json:"oldest,omitzero"`
	States     map[string]int64 `json:"states"`     // recipients by state
	Upstreams  map[string]int64 `json:"upstreams"`  // messages by upstream
	Categories map[string]int64 `json:"categories"` // recipients by category of the last refusal
}

// summary answers GET /v1/queue/summary.
func (s *Server) summary(r *http.Request) (any, error) {
	sel, err := selection(r.URL.Query())
	if err != nil {
		return nil, err
	}
	f, err := sel.filter()
	f.Limit = 0
	sum := QueueSummary{States: map[string]int64{}, Upstreams: map[string]int64{},
		Categories: map[string]int64{}}
	if err == nil {
		err = Each(r.Context(), s.o.Queue, f, func(m *relay.Message) error { sum.add(m); return nil })
	}
	return sum, err
}

// add counts a message.
func (q *QueueSummary) add(m *relay.Message) {
	q.Messages++
	q.Bytes += m.Size
	q.Upstreams[m.Lane]++
	if q.Oldest.IsZero() || m.Arrived.Before(q.Oldest) {
		q.Oldest = m.Arrived
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		q.Recipients++
		q.States[string(r.State)]++
		if r.Diagnosis != nil && !r.State.Final() {
			q.Categories[string(r.Diagnosis.Category)]++
		}
	}
}
