package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
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

// errNoSuppressions is the answer of a relay without a list.
var errNoSuppressions = errors.New(`suppression is off: suppression.mode = "off"`)

// handleSuppressions adds the routes of the suppression list.
func (s *Server) handleSuppressions(mux *http.ServeMux) {
	for pattern, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /suppressions": s.suppressions, "POST /suppressions": s.suppress,
		"DELETE /suppressions": s.unsuppress, "GET /suppressions/state": s.suppressionState,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := errNoSuppressions
			if s.o.Suppressions != nil {
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

// suppressions answers GET /suppressions.
func (s *Server) suppressions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := relay.SuppressionFilter{Address: q.Get("address"), Scope: q.Get("scope"),
		Reason: diagnose.Reason(q.Get("reason")), State: relay.SuppressionState(q.Get("state"))}
	out := lines(w)
	send := func(e *relay.Suppression) bool { return out.Encode(e) == nil }
	err := s.o.Suppressions.List(r.Context(), f, send)
	if err != nil {
		out.Encode(problem{err.Error()})
	}
	return nil
}

// suppress answers POST /suppressions.
func (s *Server) suppress(w http.ResponseWriter, r *http.Request) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport))
	var entries []relay.Suppression
	for {
		var e relay.Suppression
		if err := in.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			return &badRequest{fmt.Errorf("entry %d: %w", len(entries)+1, err)}
		}
		if entries = append(entries, e); len(entries) > maxEntries {
			return &badRequest{fmt.Errorf("more than %d entries: send them in several requests", maxEntries)}
		}
	}
	results, err := s.o.Suppressions.Put(r.Context(), entries)
	if err != nil {
		return err
	}
	out := lines(w)
	for i := range results {
		out.Encode(results[i])
	}
	return nil
}

// unsuppress answers DELETE /suppressions.
func (s *Server) unsuppress(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("address") == "" {
		return &badRequest{errors.New("address is missing")}
	}
	n, err := s.o.Suppressions.Remove(r.Context(), q.Get("address"), q.Get("scope"))
	if err == nil {
		reply(w, http.StatusOK, Removed{n})
	}
	return err
}

// suppressionState answers GET /suppressions/state.
func (s *Server) suppressionState(w http.ResponseWriter, _ *http.Request) error {
	reply(w, http.StatusOK, StateOf(s.o.Suppressions))
	return nil
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
	body, err := c.do(ctx, http.MethodGet, "/suppressions", suppressionQuery(f))
	if err != nil {
		return err
	}
	return decodeLines(body, each)
}

// Suppress adds entries, 10,000 at most, as one transaction; there is a result for each.
func (c *Client) Suppress(ctx context.Context, entries []relay.Suppression) (
	results []relay.SuppressionResult, err error) {
	pr, pw := io.Pipe()
	go func() {
		out := json.NewEncoder(pw)
		var err error
		for i := 0; err == nil && i < len(entries); i++ {
			err = out.Encode(entries[i])
		}
		pw.CloseWithError(err)
	}()
	defer pr.Close()
	body, err := c.doWith(ctx, http.MethodPost, "/suppressions", nil, pr)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for in := newAnswer(body); ; {
		var r relay.SuppressionResult
		if err := in.next(&r); err == io.EOF {
			return results, nil
		} else if err != nil {
			return results, err
		}
		results = append(results, r)
	}
}

// Unsuppress removes the entries of an address, of one scope or of all, and returns how many there were.
func (c *Client) Unsuppress(ctx context.Context, address, scope string) (int, error) {
	var n Removed
	q := suppressionQuery(relay.SuppressionFilter{Address: address, Scope: scope})
	err := c.ask(ctx, http.MethodDelete, "/suppressions", q, nil, &n)
	return n.Removed, err
}

// SuppressionState asks how the list stands.
func (c *Client) SuppressionState(ctx context.Context) (st SuppressionState, err error) {
	err = c.ask(ctx, http.MethodGet, "/suppressions/state", nil, nil, &st)
	return st, err
}
