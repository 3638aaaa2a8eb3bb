package admin

import (
	"fmt"
	"net/http"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Setting is a setting in force.
type Setting struct {
	Key   string `json:"key"`   // such as smtpd.max_connections, or upstream.default.host
	Value string `json:"value"` // as relay.toml has it; a secret only shows whether it is set
	From  string `json:"from"`  // file and line, environment variable or flag; "default"
}

// Settings are all of them, in the order of the configuration.
type Settings struct {
	Settings []Setting `json:"settings"`
}

// settings answers GET /v1/config.
func (s *Server) settings(*http.Request) (any, error) { return Settings{s.o.Settings()}, nil }

// Upstreams is how all upstreams stand.
type Upstreams struct {
	Upstreams []relay.LaneState `json:"upstreams"`
}

// upstreams answers GET /v1/upstreams.
func (s *Server) upstreams(*http.Request) (any, error) {
	return Upstreams{append([]relay.LaneState{}, s.o.Control.Lanes()...)}, nil
}

// upstream answers GET /v1/upstreams/NAME.
func (s *Server) upstream(r *http.Request) (any, error) {
	for _, l := range s.o.Control.Lanes() {
		if l.Name == r.PathValue("name") {
			return l, nil
		}
	}
	return nil, &fault{http.StatusNotFound, fmt.Errorf("there is no upstream %q", r.PathValue("name")),
		"GET /v1/upstreams lists them"}
}

// probe answers POST /v1/upstreams/NAME/probe.
func (s *Server) probe(r *http.Request) (any, error) {
	if _, err := s.upstream(r); err != nil {
		return nil, err
	}
	s.o.Control.Probe(r.PathValue("name"))
	return s.upstream(r)
}

// PolicyQuery asks which policy decides about a refusal. Only Reply is required.
type PolicyQuery struct {
	Reply    string         `json:"reply"`
	Stage    diagnose.Stage `json:"stage,omitempty"` // rcpt without
	To       string         `json:"to,omitempty"`
	From     string         `json:"from,omitempty"`     // <> is the null sender
	Client   string         `json:"client,omitempty"`   // name of the client or user
	Upstream string         `json:"upstream,omitempty"` // without: the one that the routes choose
	Attempt  int            `json:"attempt,omitempty"`  // its number, from 1; 1 without
}

// PolicyAnswer is what would be done.
type PolicyAnswer struct {
	Category diagnose.Category `json:"category"`
	Reason   diagnose.Reason   `json:"reason"`
	Policy   string            `json:"policy,omitempty"` // name of the one that decides; none: the reply does
	Action   string            `json:"action,omitempty"`
	Note     string            `json:"note,omitempty"`
	Outcome  relay.State       `json:"outcome"`          // of the recipient
	WaitS    float64           `json:"wait_s,omitempty"` // seconds until the next attempt
}

// testPolicy answers POST /v1/policies/test.
func (s *Server) testPolicy(r *http.Request) (any, error) {
	q := PolicyQuery{Stage: diagnose.StageRcpt, Attempt: 1}
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	a, err := s.o.Policy(q)
	if err != nil {
		return nil, bad("", "%w", err)
	}
	return a, nil
}
