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

// list answers GET /queue.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	out, lanes := lines(w), s.o.Control.Lanes()
	err = Each(r.Context(), s.o.Queue, f, func(m *relay.Message) error {
		return out.Encode(Summarize(m, lanes))
	})
	if err != nil {
		out.Encode(problem{err.Error()})
	}
}

// show answers GET /queue/ID.
func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !relay.ValidID(id) {
		refuse(w, http.StatusBadRequest, fmt.Errorf("not a queue id: %q", id))
		return
	}
	m, err := One(r.Context(), s.o.Queue, id)
	if err != nil {
		refuse(w, status(err), err)
		return
	}
	reply(w, http.StatusOK, Show(m, s.o.Control.Lanes()))
}

// Outcome is what became of one message at the operator's wish.
type Outcome struct {
	ID         string `json:"id"`
	Recipients int    `json:"recipients"`    // how many changed; 0: there was nothing to do
	Due        int    `json:"due,omitempty"` // how many are due now, after a retry or release
	Error      string `json:"error,omitempty"`
}

// editTimeout is how long an edit waits for the lease of its message to end.
const editTimeout = 30 * time.Second

// act answers POST /queue/ACTION.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	change, known := actions(s.o.Now())[Action(r.PathValue("action"))]
	f, err := filter(r.URL.Query())
	switch {
	case !known:
		refuse(w, http.StatusNotFound, fmt.Errorf("not an action: %q", r.PathValue("action")))
		return
	case err == nil && !Selects(f) && r.URL.Query().Get("all") != "true":
		err = errSelectsAll
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	out := lines(w)
	err = Each(r.Context(), s.o.Queue, f, func(m *relay.Message) error {
		return out.Encode(s.edit(r.Context(), m.ID, change))
	})
	if err != nil {
		out.Encode(problem{err.Error()})
	}
	s.o.Control.TryNow()
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
		return Outcome{ID: id, Error: "the message is on its way to the upstream; try again"}
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
