package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin/access"
)

// route is one entry of the table in routes.go: all that the server, the clients and the OpenAPI document
// know of a path.
type route struct {
	pattern string       // as http.ServeMux takes it
	scope   access.Scope // that a token needs; "": none is asked for
	about   string       // a sentence
	query   []param
	takes   any  // a value of the type of the body; nil: there is none
	gives   any  // a value of the type of the answer
	long    bool // it may take minutes
	large   bool // its body may be large; then it is long, too

	// answer makes the answer, which is written as JSON; or stream writes it, after which an error can only
	// be logged.
	answer func(*http.Request) (any, error)
	stream func(http.ResponseWriter, *http.Request) error
}

// param is a parameter of a query.
type param struct {
	name, about string
	many        bool // it may be repeated
}

// The bounds of a request and of its answer.
const (
	maxBody  = 4 << 20  // bytes of a body
	maxLarge = 64 << 20 // bytes of a large one
	longTime = 10 * time.Minute
)

// Problem is the body of an answer that is an error.
type Problem struct {
	Error string `json:"error"`          // what is wrong
	Hint  string `json:"hint,omitempty"` // how to mend it
}

// fault is an error that knows its HTTP status.
type fault struct {
	status int
	err    error
	hint   string
}

// Error implements error.
func (f *fault) Error() string { return f.err.Error() }

// Unwrap gives the cause.
func (f *fault) Unwrap() error { return f.err }

// Mistake is err with the HTTP status that says whose mistake it is. The ports of this package return it for
// what is wrong with a request; any other error but relay.ErrNotFound is the relay's.
func Mistake(status int, err error) error { return &fault{status, err, ""} }

// bad is a mistake of the client.
func bad(hint, format string, args ...any) error {
	return &fault{http.StatusBadRequest, fmt.Errorf(format, args...), hint}
}

// faultOf is what err means to the client.
func faultOf(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &fault{http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes",
			large.Limit), "ask in several requests"}
	}
	if errors.Is(err, relay.ErrNotFound) {
		return &fault{http.StatusNotFound, err, ""}
	}
	return &fault{http.StatusInternalServerError, err, ""}
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	f := faultOf(err)
	reply(w, f.status, Problem{f.err.Error(), f.hint})
}

// reply writes v as JSON with a status.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}

// withStatus is an answer whose status is not 200.
type withStatus struct {
	status int
	body   any
}

// whoKey is the key of the Identity in a request's context.
type whoKey struct{}

// asOperator marks the requests of a server as those of the operator.
func asOperator(ctx context.Context) context.Context {
	return context.WithValue(ctx, whoKey{}, access.Operator())
}

// identify says who sends a request: whoever opened the control socket, or has a token.
func (s *Server) identify(r *http.Request) (who access.Identity, err error) {
	if who, ok := r.Context().Value(whoKey{}).(access.Identity); ok {
		return who, nil
	}
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") || token == "" {
		return who, &fault{http.StatusUnauthorized, errors.New("the request has no token"),
			"send Authorization: Bearer TOKEN; mailwhy token create makes a token"}
	}
	who, ok := s.o.Authorize(strings.TrimSpace(token))
	if !ok {
		return who, &fault{http.StatusUnauthorized, errors.New("the token is unknown, revoked or expired"),
			"mailwhy token list shows the tokens that there are"}
	}
	return who, nil
}

// allow refuses a request without the scope that its route needs. RFC 6750, 3.
func (s *Server) allow(w http.ResponseWriter, r *http.Request, need access.Scope) (access.Identity, error) {
	if need == "" {
		return access.Identity{}, nil
	}
	who, err := s.identify(r)
	if err != nil {
		challenge := `Bearer realm="mailwhy"`
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		return who, err
	}
	if !who.May(need) {
		w.Header().Set("WWW-Authenticate",
			fmt.Sprintf(`Bearer realm="mailwhy", error="insufficient_scope", scope="%s"`, need))
		return who, &fault{http.StatusForbidden, fmt.Errorf("the token %q has not the scope %s", who.Name,
			need), "mailwhy token create NAME --scope " + string(need)}
	}
	return who, nil
}

// handle is the one way in which a route is served: who asks comes first, whatever the path looked like.
func (s *Server) handle(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.allow(w, r, rt.scope)
		if err == nil {
			err = rt.check(r)
		}
		if err != nil {
			refuse(w, err)
			return
		}
		most := int64(maxBody)
		if rt.large {
			most = maxLarge
		}
		if rt.long || rt.large {
			extend(w, time.Now().Add(longTime))
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if rt.stream != nil {
			if err := rt.stream(w, r); err != nil {
				refuse(w, err)
			}
		} else if answer, err := rt.answer(r); err != nil {
			refuse(w, err)
			return
		} else if a, ok := answer.(withStatus); ok {
			reply(w, a.status, a.body)
		} else {
			reply(w, http.StatusOK, answer)
		}
		if rt.scope == access.Write {
			s.o.Log.Info("changed over the API", "by", who.Name, "request", rt.pattern,
				"id", r.PathValue("id"))
		}
	}
}

// extend gives a request more time than others have. A connection without deadlines stays without.
func extend(w http.ResponseWriter, until time.Time) {
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(until)
	rc.SetWriteDeadline(until)
}

// check refuses what the route does not know: a misspelt filter must not select everything.
func (rt *route) check(r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("", "the query cannot be read: %w", err)
	}
	for name, list := range values {
		i := slices.IndexFunc(rt.query, func(p param) bool { return p.name == name })
		if i < 0 {
			return bad(rt.knows(), "unknown parameter: %q", name)
		}
		if len(list) > 1 && !rt.query[i].many {
			return bad("give it once", "%s is there %d times", name, len(list))
		}
	}
	if rt.takes == nil && r.ContentLength > 0 {
		return bad("leave it out; parameters stand in the query", "%s takes no body", rt.pattern)
	}
	return nil
}

// knows names the parameters.
func (rt *route) knows() string {
	if len(rt.query) == 0 {
		return "this path takes no parameters"
	}
	names := make([]string, len(rt.query))
	for i := range rt.query {
		names[i] = rt.query[i].name
	}
	return "known are " + strings.Join(names, ", ")
}

// decode reads a body as the one JSON value that it must be.
func decode(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return bad("send JSON", "the body is empty")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return bad("GET /v1/openapi.json describes it", "the body is not the JSON that was expected: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("send one JSON value",
			"the body is not the JSON that was expected: it goes on behind its value")
	}
	return nil
}

// The sizes of a page of a list.
const (
	pageDefault = 100
	pageMost    = 1000
)

// limitOf reads how many entries a page is to have.
func limitOf(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return pageDefault, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > pageMost {
		return 0, bad("", "limit=%q: not a number from 1 to %d", text, pageMost)
	}
	return n, nil
}

// timeOf reads a time of a query; zero when it is not there.
func timeOf(q url.Values, name string) (t time.Time, err error) {
	if text := q.Get(name); text != "" {
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			return t, bad("write it as 2026-11-29T12:00:00Z", "%s=%q: not a time", name, text)
		}
	}
	return t, nil
}

// numberOf reads a number of a query; 0 when it is not there.
func numberOf(q url.Values, name string) (n int64, err error) {
	if text := q.Get(name); text != "" {
		if n, err = strconv.ParseInt(text, 10, 64); err != nil || n < 0 {
			return 0, bad("", "%s=%q: not a number", name, text)
		}
	}
	return n, nil
}
