package admin

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"mailwhy/relay"
)

// query writes f as the FILTER of a request.
func query(f relay.QueueFilter) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("sender", f.Sender)
	set("recipient", f.Recipient)
	set("category", f.Category)
	set("state", string(f.State))
	set("after", f.After)
	if !f.OlderThan.IsZero() {
		v.Set("older_than", f.OlderThan.UTC().Format(time.RFC3339Nano))
	}
	if f.Limit > 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	if len(f.IDs) > 0 {
		v["id"] = f.IDs
	}
	return v
}

// filter reads the FILTER of a request. An unknown name is an error: a misspelt filter must not
// select everything.
func filter(v url.Values) (f relay.QueueFilter, err error) {
	for name := range v {
		if !slices.Contains([]string{"sender", "recipient", "category", "state", "after", "older_than",
			"limit", "id", "all"}, name) {
			return f, fmt.Errorf("not a filter: %q", name)
		}
	}
	f = relay.QueueFilter{
		IDs: v["id"], Sender: v.Get("sender"), Recipient: v.Get("recipient"),
		Category: v.Get("category"), State: relay.State(v.Get("state")), After: v.Get("after"),
	}
	for _, id := range f.IDs {
		if !relay.ValidID(id) {
			return f, fmt.Errorf("not a queue id: %q", id)
		}
	}
	if f.State != "" && !slices.Contains(States(), f.State) {
		return f, fmt.Errorf("not a state of a recipient: %q", f.State)
	}
	if s := v.Get("older_than"); s != "" {
		if f.OlderThan, err = time.Parse(time.RFC3339, s); err != nil {
			return f, fmt.Errorf("older_than=%q is not a time", s)
		}
	}
	if s := v.Get("limit"); s != "" {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 {
			return f, fmt.Errorf("limit=%q is not a number of messages", s)
		}
	}
	return f, nil
}

// errSelectsAll is the answer to an action without a filter.
var errSelectsAll = errors.New("nothing selects the messages; give a filter, ids, or all=true")

// Selects reports whether f may leave out a message.
func Selects(f relay.QueueFilter) bool {
	return len(f.IDs) > 0 || f.Sender != "" || f.Recipient != "" || f.Category != "" || f.State != "" ||
		!f.OlderThan.IsZero()
}

// States are the states by which the queue can be filtered.
func States() []relay.State {
	return []relay.State{relay.Queued, relay.Deferred, relay.Relayed, relay.Failed, relay.Expired,
		relay.Suppressed, relay.Held}
}
