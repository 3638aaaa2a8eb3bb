package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address"
)

// SuppressionState is how the suppression list stands.
type SuppressionState struct {
	Mode    string                    `json:"mode"`
	Fault   string                    `json:"fault,omitempty"`
	Entries map[diagnose.Reason]int64 `json:"entries,omitempty"`
	Noted   int64                     `json:"noted,omitempty"`
	Tripped map[string]time.Time      `json:"tripped,omitempty"`
	Dropped int64                     `json:"dropped,omitempty"`
}

// Removed is how many entries were removed.
type Removed struct {
	Removed int `json:"removed"`
}

// maxEntries is how many entries one request may add: they are one transaction.
const maxEntries = 10_000

// list is the suppression list, if it is on.
func (s *Server) suppressionList() (relay.SuppressionList, error) {
	if s.o.Suppressions == nil {
		return nil, &fault{http.StatusConflict, errors.New("suppression is off"),
			`set suppression.mode to "observe" or "enforce"`}
	}
	return s.o.Suppressions, nil
}

// suppressionQuery is f as a query.
func suppressionQuery(f relay.SuppressionFilter) url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"address": f.Address, "scope": f.Scope, "reason": string(f.Reason), "state": string(f.State),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// SuppressionPage is a page of the list.
type SuppressionPage struct {
	Suppressions []relay.Suppression `json:"suppressions"`
	Next         string              `json:"next,omitempty"` // for after; missing on the last page
}

// suppressions answers GET /v1/suppressions.
func (s *Server) suppressions(r *http.Request) (any, error) {
	list, err := s.suppressionList()
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	f := relay.SuppressionFilter{Address: q.Get("address"), Scope: q.Get("scope"),
		Reason: diagnose.Reason(q.Get("reason")), State: relay.SuppressionState(q.Get("state"))}
	limit, err := limitOf(q)
	if err == nil {
		f.After, err = numberOf(q, "after")
	}
	if err != nil {
		return nil, err
	}
	page := SuppressionPage{Suppressions: []relay.Suppression{}}
	err = list.List(r.Context(), f, func(e *relay.Suppression) bool {
		if len(page.Suppressions) == limit {
			page.Next = strconv.FormatInt(f.After, 10)
			return false
		}
		page.Suppressions, f.After = append(page.Suppressions, *e), e.Number
		return true
	})
	return page, err
}

// suppressed answers GET /v1/suppressions/ADDRESS.
func (s *Server) suppressed(r *http.Request) (any, error) {
	list, err := s.suppressionList()
	if err != nil {
		return nil, err
	}
	address := r.PathValue("address")
	page := SuppressionPage{}
	err = list.List(r.Context(), relay.SuppressionFilter{Address: address}, func(e *relay.Suppression) bool {
		page.Suppressions = append(page.Suppressions, *e)
		return true
	})
	if err == nil && page.Suppressions == nil {
		err = &fault{http.StatusNotFound, fmt.Errorf("%q is not on the list", address), ""}
	}
	return page, err
}

// SuppressionEntries are entries to be added. Of each only the address is required.
type SuppressionEntries struct {
	Entries []relay.Suppression `json:"entries"`
}

// SuppressionResults say what became of each entry, in their order.
type SuppressionResults struct {
	Results []relay.SuppressionResult `json:"results"`
}

// suppress answers POST /v1/suppressions.
func (s *Server) suppress(r *http.Request) (any, error) {
	list, err := s.suppressionList()
	if err != nil {
		return nil, err
	}
	var in SuppressionEntries
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	switch n := len(in.Entries); {
	case n == 0:
		return nil, bad(`send {"entries": [{"address": "jane@example.com"}]}`, "there are no entries")
	case n > maxEntries:
		return nil, bad("send them in several requests", "there are %d entries, of at most %d", n, maxEntries)
	}
	results, err := list.Put(r.Context(), in.Entries)
	return SuppressionResults{results}, err
}

// unsuppress answers DELETE /v1/suppressions/ADDRESS.
func (s *Server) unsuppress(r *http.Request) (any, error) {
	list, err := s.suppressionList()
	if err != nil {
		return nil, err
	}
	name := r.PathValue("address")
	if _, err := address.Parse(name, true); err != nil {
		return nil, bad("write it as jane@example.com", "%q: %w", name, err)
	}
	n, err := list.Remove(r.Context(), name, r.URL.Query().Get("scope"))
	if err == nil && n == 0 {
		err = &fault{http.StatusNotFound, fmt.Errorf("%q is not on the list", name), ""}
	}
	return Removed{n}, err
}

// suppressionState answers GET /v1/suppressions/state.
func (s *Server) suppressionState(*http.Request) (any, error) {
	list, err := s.suppressionList()
	if err != nil {
		return nil, err
	}
	return StateOf(list), nil
}

// StateOf is the state of a list in the form that is sent.
func StateOf(list relay.SuppressionList) SuppressionState {
	st := list.State()
	out := SuppressionState{Mode: st.Mode, Entries: st.Entries, Noted: st.Noted, Tripped: st.Tripped,
		Dropped: st.Dropped}
	if st.Fault != nil {
		out.Fault = st.Fault.Error()
	}
	return out
}

// suppressionNotes say what an operator should know of the list.
func (s *Server) suppressionNotes() (notes []string) {
	if s.o.Suppressions == nil {
		return nil
	}
	st := s.o.Suppressions.State()
	if st.Fault != nil { // mail flows: a restart would cure nothing
		notes = append(notes, "mail is not checked against the suppression list: "+st.Fault.Error())
	}
	for _, name := range slices.Sorted(maps.Keys(st.Tripped)) {
		notes = append(notes, "upstream "+name+" calls nearly every recipient unknown since "+
			st.Tripped[name].UTC().Format(time.RFC3339)+": no address is suppressed for what it says")
	}
	return notes
}

// Suppressed calls each for every entry of the suppression list that f selects, until it returns an error.
func (c *Client) Suppressed(ctx context.Context, f relay.SuppressionFilter,
	each func(relay.Suppression) error) error {
	for q := suppressionQuery(f); ; {
		q.Set("limit", strconv.Itoa(pageMost))
		var page SuppressionPage
		if err := c.ask(ctx, http.MethodGet, "/suppressions", q, nil, &page); err != nil {
			return err
		}
		for i := range page.Suppressions {
			if err := each(page.Suppressions[i]); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		q.Set("after", page.Next)
	}
}

// Suppress adds entries, 10,000 at most, as one transaction; there is a result for each.
func (c *Client) Suppress(ctx context.Context, entries []relay.Suppression) (
	results []relay.SuppressionResult, err error) {
	body, err := json.Marshal(SuppressionEntries{entries})
	if err != nil {
		return nil, err
	}
	var out SuppressionResults
	err = c.ask(ctx, http.MethodPost, "/suppressions", nil, body, &out)
	return out.Results, err
}

// Unsuppress removes the entries of an address, of one scope or of all, and returns how many there were.
func (c *Client) Unsuppress(ctx context.Context, address, scope string) (int, error) {
	var n Removed
	q := suppressionQuery(relay.SuppressionFilter{Scope: scope})
	err := c.ask(ctx, http.MethodDelete, "/suppressions/"+url.PathEscape(address), q, nil, &n)
	if errors.Is(err, relay.ErrNotFound) {
		err = nil
	}
	return n.Removed, err
}

// SuppressionState asks how the list stands.
func (c *Client) SuppressionState(ctx context.Context) (st SuppressionState, err error) {
	err = c.ask(ctx, http.MethodGet, "/suppressions/state", nil, nil, &st)
	return st, err
}
