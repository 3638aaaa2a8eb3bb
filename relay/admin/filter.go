package admin

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay"
)

// Selection selects messages of the queue, a page of them. A message is selected that fits all that is given.
type Selection struct {
	IDs       []string  `json:"ids,omitempty"`       // of messages, or of mails: then all messages of these
	Sender    string    `json:"sender,omitempty"`    // envelope sender, @domain, or <> for the null sender
	Recipient string    `json:"recipient,omitempty"` // any recipient, or @domain
	Category  string    `json:"category,omitempty"`  // of any recipient's diagnosis
	State     string    `json:"state,omitempty"`     // of any recipient
	Upstream  string    `json:"upstream,omitempty"`  // that it waits for
	OlderThan time.Time `json:"older_than,omitzero"` // arrived before
	All       bool      `json:"all,omitempty"`       // an action wants it when nothing else selects
	After     string    `json:"after,omitempty"`     // next of the page before
	Limit     int       `json:"limit,omitempty"`     // 1 to 1000; 100 without
}

// newSelection is f as it is sent.
func newSelection(f relay.QueueFilter) Selection {
	return Selection{IDs: f.IDs, Sender: f.Sender, Recipient: f.Recipient, Category: f.Category,
		State: string(f.State), Upstream: f.Lane, OlderThan: f.OlderThan, After: f.After, Limit: f.Limit}
}

// query is the selection as a query.
func (s *Selection) query() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"sender": s.Sender, "recipient": s.Recipient,
		"category": s.Category, "state": s.State, "upstream": s.Upstream, "after": s.After} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if !s.OlderThan.IsZero() {
		v.Set("older_than", s.OlderThan.UTC().Format(time.RFC3339Nano))
	}
	if s.Limit > 0 {
		v.Set("limit", strconv.Itoa(s.Limit))
	}
	if len(s.IDs) > 0 {
		v["id"] = s.IDs
	}
	return v
}

// selection reads what a query selects.
func selection(v url.Values) (s Selection, err error) {
	s = Selection{IDs: v["id"], Sender: v.Get("sender"), Recipient: v.Get("recipient"),
		Category: v.Get("category"), State: v.Get("state"), Upstream: v.Get("upstream"),
		After: v.Get("after")}
	if s.OlderThan, err = timeOf(v, "older_than"); err == nil {
		s.Limit, err = limitOf(v)
	}
	return s, err
}

// filter is the selection as the spool is asked, or what is wrong with it.
func (s *Selection) filter() (relay.QueueFilter, error) {
	f := relay.QueueFilter{IDs: s.IDs, Sender: s.Sender, Recipient: s.Recipient, Category: s.Category,
		State: relay.State(s.State), Lane: s.Upstream, OlderThan: s.OlderThan, After: s.After, Limit: s.Limit}
	for _, id := range s.IDs {
		if !relay.ValidID(id) {
			return f, bad("", "not a queue id: %q", id)
		}
	}
	if f.State != "" && !slices.Contains(States(), f.State) {
		names := make([]string, len(States()))
		for i, state := range States() {
			names[i] = string(state)
		}
		return f, bad("use one of "+strings.Join(names, ", "), "not a state of a recipient: %q", s.State)
	}
	switch {
	case s.Limit == 0:
		f.Limit = pageDefault
	case s.Limit < 0 || s.Limit > pageMost:
		return f, bad("", "limit=%d: not a number from 1 to %d", s.Limit, pageMost)
	}
	return f, nil
}

// Selects reports whether f may leave out a message.
func Selects(f relay.QueueFilter) bool {
	return len(f.IDs) > 0 || f.Sender != "" || f.Recipient != "" || f.Category != "" || f.State != "" ||
		f.Lane != "" || !f.OlderThan.IsZero()
}

// States are the states by which the queue can be filtered.
func States() []relay.State {
	return []relay.State{relay.Queued, relay.Deferred, relay.Relayed, relay.Failed, relay.Expired,
		relay.Suppressed, relay.Held}
}
