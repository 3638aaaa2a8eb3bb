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
	"strings"
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
	// Erase removes what is remembered about an address; with act false it counts only.
	Erase(ctx context.Context, address string, act bool) (Erased, error)
	// Backlog is what came back and has not had its effect.
	Backlog(ctx context.Context) (Backlog, error)
	// Fault is why nothing that comes back is taken, while mail is relayed all the same; nil if it is taken.
	Fault() error
}

// Erased counts what is remembered about an address.
type Erased struct {
	Messages int64 `json:"messages"` // that were relayed, to it or from it
	Reports  int64 `json:"reports"`  // that wait or are kept, in which it stands
	Owed     int64 `json:"owed"`     // messages that stay until their bounce is sent
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
	After  int64 // id to continue after: pages are in the order of ids
	Limit  int   // 0 is no limit
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

// withFeedback lets answer work when feedback is configured.
func (s *Server) withFeedback() (Feedback, error) {
	if s.o.Feedback == nil {
		return nil, &fault{http.StatusConflict, errors.New("feedback is not configured"),
			"see docs/feedback.md"}
	}
	return s.o.Feedback, nil
}

// reportFilter reads a filter from a query.
func reportFilter(q url.Values) (f ReportFilter, err error) {
	f = ReportFilter{State: q.Get("state"), Source: q.Get("source")}
	if f.Since, err = timeOf(q, "since"); err == nil {
		f.ID, err = numberOf(q, "id")
	}
	if err == nil {
		f.After, err = numberOf(q, "after")
	}
	if err == nil {
		f.Limit, err = limitOf(q)
	}
	return f, err
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
	if f.After != 0 {
		q.Set("after", strconv.FormatInt(f.After, 10))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339))
	}
	return q
}

// ReportPage is a page of reports.
type ReportPage struct {
	Reports []Report `json:"reports"`
	Next    int64    `json:"next,omitempty"` // for after; missing on the last page
}

// reports answers GET /v1/feedback.
func (s *Server) reports(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	f, err := reportFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	page := ReportPage{Reports: []Report{}}
	limit := f.Limit
	f.Limit++ // to see whether there is another page
	err = feedback.Reports(r.Context(), f, func(r Report) bool {
		if len(page.Reports) == limit {
			page.Next = page.Reports[limit-1].ID
			return false
		}
		page.Reports = append(page.Reports, r)
		return true
	})
	return page, err
}

// report answers GET /v1/feedback/ID.
func (s *Server) report(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, bad("it is a number", "not the id of a report: %q", r.PathValue("id"))
	}
	return feedback.Report(r.Context(), id)
}

// Count is how many reports something was done to.
type Count struct {
	Reports int64 `json:"reports"`
}

// replay answers POST /v1/feedback/replay.
func (s *Server) replay(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	f, err := reportFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	f.Limit = 0
	n, err := feedback.Replay(r.Context(), f)
	return Count{n}, err
}

// erase answers POST /v1/feedback/erase.
func (s *Server) erase(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	address, act, err := erasing(r)
	if err != nil {
		return nil, err
	}
	return feedback.Erase(r.Context(), address, act)
}

// erasing is what a request to erase asks for.
func erasing(r *http.Request) (address string, act bool, err error) {
	q := r.URL.Query()
	if address = q.Get("address"); !strings.Contains(address, "@") {
		return "", false, &fault{http.StatusBadRequest, fmt.Errorf("address: %q is not an address", address),
			"write it as user@example.com"}
	}
	return address, q.Get("act") == "true", nil
}

// take answers POST /v1/feedback/take.
func (s *Server) take(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return Count{1}, feedback.Take(r.Context(), r.URL.Query().Get("webhook"), body)
}

// Mailed is what became of a mail.
type Mailed struct {
	Taken bool `json:"taken"` // false: it is a person's
}

// takeMail answers POST /v1/feedback/mail.
func (s *Server) takeMail(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	taken, err := feedback.Mail(r.Context(), content)
	return Mailed{taken}, err
}

// Sent is a test message on its way.
type Sent struct {
	ID string `json:"id"`
}

// send answers POST /v1/feedback/send.
func (s *Server) send(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	id, err := feedback.Send(r.Context(), q.Get("webhook"), q.Get("from"), q.Get("to"))
	return Sent{id}, err
}

// History is what is known of the messages with a queue id after they left the queue.
type History struct {
	Messages []Remembered `json:"messages"`
}

// remembered answers GET /v1/messages/ID/history.
func (s *Server) remembered(r *http.Request) (any, error) {
	feedback, err := s.withFeedback()
	if err != nil {
		return nil, err
	}
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	list, err := feedback.Remembered(r.Context(), id)
	if err == nil && len(list) == 0 || errors.Is(err, relay.ErrNotFound) {
		err = &fault{http.StatusNotFound, fmt.Errorf("nothing is known of message %s", id), ""}
	}
	return History{list}, err
}
