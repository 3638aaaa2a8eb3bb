package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Feedback is what is known of mail after it was relayed, and the way in for it that the operator has. A
// report that is not there is an error that wraps relay.ErrNotFound.
type Feedback interface {
	// Reports calls each for what came back and waits for its effect, or could have none, until it returns
	// false.
	Reports(ctx context.Context, f ReportFilter, each func(Report) bool) error
	// Report is one of them, whole.
	Report(ctx context.Context, id int64) (Report, error)
	// Replay lets them be looked at again now, and returns how many. What had its effect has none again.
	Replay(ctx context.Context, f ReportFilter) (int64, error)
	// Take makes what a provider told durable, as if it had come to this webhook with proof.
	Take(ctx context.Context, webhook string, body []byte) error
	// Mail takes a mail and makes it durable if it is a report; taken is false for a person's mail.
	Mail(ctx context.Context, content []byte) (taken bool, err error)
	// Remembered are the messages that a queue id names and that have left the queue, with what came back.
	Remembered(ctx context.Context, id string) ([]Remembered, error)
	// Send sends a test message through an upstream of the webhook, and returns its queue id.
	Send(ctx context.Context, webhook, from, to string) (id string, err error)
	// Backlog is what came back and has not had its effect.
	Backlog(ctx context.Context) (Backlog, error)
	// Fault is why nothing that comes back is taken, while mail is relayed all the same; nil if it is taken.
	Fault() error
}

// Backlog is what came back and has not had its effect.
type Backlog struct {
	Due    int64     `json:"due"`             // reports that are to be processed now
	Oldest time.Time `json:"oldest,omitzero"` // since when the first of them is
	Later  int64     `json:"later"`           // for which no message was found so far, mostly: tried again
	Kept   int64     `json:"kept"`            // that can have no effect, for people to look at
}

// ReportFilter selects reports. Zero fields select all.
type ReportFilter struct {
	ID     int64
	State  string // waiting, unmatched, unreadable or unproven
	Source string // name of the webhook or mailbox
	Since  time.Time
}

// Report is something that came back: as it came, or one of the events that were read in it.
type Report struct {
	ID       int64     `json:"id"`
	State    string    `json:"state"`
	Came     time.Time `json:"came"`
	Due      time.Time `json:"due,omitzero"` // when it is looked at; of one that waits
	Tries    int       `json:"tries,omitempty"`
	Source   string    `json:"source"`
	Provider string    `json:"provider"`
	Why      string    `json:"why,omitempty"` // it waits, or could have no effect

	Kind      string `json:"kind,omitempty"` // of an event, and what follows
	Recipient string `json:"recipient,omitempty"`
	EventID   string `json:"event_id,omitempty"`
	Reply     string `json:"reply,omitempty"`

	// Of a single report only.
	Event  json.RawMessage   `json:"event,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

// Remembered is a message that was relayed, and all that came back for it.
type Remembered struct {
	Message *relay.Message `json:"message"`
	States  []string       `json:"states"` // of each recipient; "" for one that was not handed over
	Told    []Told         `json:"told,omitempty"`
}

// Told is what came back for a recipient, in the order in which it came.
type Told struct {
	Recipient int                 `json:"recipient"` // index
	Kind      relay.EventKind     `json:"kind"`
	Attempt   relay.Attempt       `json:"attempt"`
	Diagnosis *diagnose.Diagnosis `json:"diagnosis,omitempty"`
	Feedback  relay.Feedback      `json:"feedback"`
	Note      string              `json:"note,omitempty"`
}

// maxReport is the largest request or mail that is taken, bytes.
const maxReport = 64 << 20

// errNoFeedback is the answer of a relay without feedback.
var errNoFeedback = errors.New("feedback is not configured: see docs/feedback.md")

// handleFeedback adds the routes of feedback.
func (s *Server) handleFeedback(mux *http.ServeMux) {
	for pattern, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /feedback": s.reports, "GET /feedback/{id}": s.report, "POST /feedback/replay": s.replay,
		"POST /feedback/take": s.take, "POST /feedback/mail": s.takeMail, "POST /feedback/send": s.send,
		"GET /remembered/{id}": s.remembered,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := errNoFeedback
			if s.o.Feedback != nil {
				err = answer(w, r)
			}
			if bad := (*badRequest)(nil); errors.As(err, &bad) {
				refuse(w, http.StatusBadRequest, err)
			} else if err != nil {
				refuse(w, status(err), err)
			}
		})
	}
}

// badRequest is a mistake of the client.
type badRequest struct{ error }

// reportFilter reads a filter from a query.
func reportFilter(q url.Values) (f ReportFilter, err error) {
	f = ReportFilter{State: q.Get("state"), Source: q.Get("source")}
	if s := q.Get("since"); s != "" {
		if f.Since, err = time.Parse(time.RFC3339, s); err != nil {
			return f, &badRequest{fmt.Errorf("since: %w", err)}
		}
	}
	if s := q.Get("id"); s != "" {
		if f.ID, err = strconv.ParseInt(s, 10, 64); err != nil {
			return f, &badRequest{fmt.Errorf("not the id of a report: %q", s)}
		}
	}
	return f, nil
}

// query is f as a query.
func (f *ReportFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"state": f.State, "source": f.Source} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.ID != 0 {
		q.Set("id", strconv.FormatInt(f.ID, 10))
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339))
	}
	return q
}

// reports answers GET /feedback.
func (s *Server) reports(w http.ResponseWriter, r *http.Request) error {
	f, err := reportFilter(r.URL.Query())
	if err != nil {
		return err
	}
	out := lines(w)
	err = s.o.Feedback.Reports(r.Context(), f, func(r Report) bool { return out.Encode(r) == nil })
	if err != nil {
		out.Encode(problem{err.Error()})
	}
	return nil
}

// report answers GET /feedback/ID.
func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return &badRequest{fmt.Errorf("not the id of a report: %q", r.PathValue("id"))}
	}
	report, err := s.o.Feedback.Report(r.Context(), id)
	if err == nil {
		reply(w, http.StatusOK, report)
	}
	return err
}

// Count is how many reports something was done to.
type Count struct {
	Reports int64 `json:"reports"`
}

// replay answers POST /feedback/replay.
func (s *Server) replay(w http.ResponseWriter, r *http.Request) error {
	f, err := reportFilter(r.URL.Query())
	if err != nil {
		return err
	}
	n, err := s.o.Feedback.Replay(r.Context(), f)
	if err == nil {
		reply(w, http.StatusOK, Count{n})
	}
	return err
}

// take answers POST /feedback/take.
func (s *Server) take(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	if err == nil {
		err = s.o.Feedback.Take(r.Context(), r.URL.Query().Get("webhook"), body)
	}
	if err == nil {
		reply(w, http.StatusOK, Count{1})
	}
	return err
}

// Mailed is what became of a mail.
type Mailed struct {
	Taken bool `json:"taken"` // false: it is a person's
}

// takeMail answers POST /feedback/mail.
func (s *Server) takeMail(w http.ResponseWriter, r *http.Request) error {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	var m Mailed
	if err == nil {
		m.Taken, err = s.o.Feedback.Mail(r.Context(), content)
	}
	if err == nil {
		reply(w, http.StatusOK, m)
	}
	return err
}

// Sent is a test message on its way.
type Sent struct {
	ID string `json:"id"`
}

// send answers POST /feedback/send.
func (s *Server) send(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	id, err := s.o.Feedback.Send(r.Context(), q.Get("webhook"), q.Get("from"), q.Get("to"))
	if err == nil {
		reply(w, http.StatusOK, Sent{id})
	}
	return err
}

// remembered answers GET /remembered/ID.
func (s *Server) remembered(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !relay.ValidID(id) {
		return &badRequest{fmt.Errorf("not a queue id: %q", id)}
	}
	list, err := s.o.Feedback.Remembered(r.Context(), id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: %w", id, relay.ErrNotFound)
	}
	if err == nil {
		reply(w, http.StatusOK, list)
	}
	return err
}
