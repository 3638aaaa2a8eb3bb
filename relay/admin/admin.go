// Package admin is the operator's way into a running relay: health, the queue, the suppression list,
// feedback, webhooks and events, over HTTP.
//
// relay/app starts a Server beside the relay. It answers on a unix socket in the spool directory, whose mode
// (0600) is the only authentication: the relay's own user and root may do everything; cmd/mailwhy speaks to
// it through a Client. And it answers at admin.listen over TCP, where each request needs a token with the
// scope of its route (package access). From both, browsers are kept from doing harm (package guard): one gets
// to the socket through a tunnel.
//
// routes.go is the table of all paths, which begin with /v1, with what each takes and gives and the scope it
// needs; openapi.json is made from it, and docs/api.md tells how they are used. Outside of /v1 there are
// GET /metrics, for Prometheus, and the probes of Options.Probes, which need no token.
//
// What always holds: a route is served by handle and in no other way, so that there is none without a scope;
// what the table does not name is refused, in a query as in a body, for a misspelt filter must not select
// everything; each error is a Problem; GET changes nothing. A message that is on its way to the upstream is
// not changed under it: the edit waits for the lease to end. Each change is durable before it is answered,
// and is recorded as an event after it. Lists come in pages, so that a slow reader holds no transaction of
// the spool open. Contents are never shown.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/admin/guard"
	"mailwhy/relay/admin/stream"
	"mailwhy/relay/internal/httpserver"
)

// Queue is what the operator looks into and changes: the add-ons of a spool.
type Queue interface {
	relay.Lister
	relay.Editor
}

// Control is the running relay.
type Control interface {
	// TryNow makes every lane look for due messages now, and a paused one try its upstream now.
	TryNow()
	// Probe does the same for one lane; for one that is gone it does nothing.
	Probe(name string)
	// Lanes says how each lane stands.
	Lanes() []relay.LaneState
	// Faults are the reasons why the relay does not do all of its work: a listener that ended, a log that
	// cannot be written. None means that it is healthy.
	Faults() []string
	// Notes are what an operator should know of a healthy relay too.
	Notes() []string
}

// Options are what a Server is made of. Those that say what nil means may be nil, the others not.
type Options struct {
	Queue   Queue
	Control Control
	Record  relay.Recorder
	Log     *slog.Logger
	Now     func() time.Time // wall clock
	Metrics http.Handler     // answers GET /metrics; nil: 404
	// Probes adds the paths to a mux that need no token; nil: there are none.
	Probes func(*http.ServeMux)
	// Operated answers what is asked on the control socket and is not the API's; nil: 404.
	Operated http.Handler

	// Members are the live relays of the cluster; nil: there is none.
	Members      func(context.Context) ([]relay.Member, error)
	Feedback     Feedback              // nil: it is not configured
	EraseEvents  EraseEvents           // of the page's history; nil: it is off
	Webhooks     Webhooks              // nil: there are none, ever
	Suppressions relay.SuppressionList // nil: it is off
	Files        SuppressionFiles      // nil with Suppressions
	// Diagnose is the engine in force, with the operator's own rules.
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	Policy   func(PolicyQuery) (PolicyAnswer, error) // asks the policies in force
	Settings func() []Setting                        // those in force, secrets redacted
	Events   *stream.Stream                          // of all events
	Encode   func(*relay.Event) []byte               // the JSON form of an event, one line

	// Authorize says who has a token; nil: nobody has one.
	Authorize func(token string) (access.Identity, bool)
	// TokensFault is why no token is accepted, nil if they are; nil: nothing can be wrong.
	TokensFault func() error
	Hosts       []string // the names under which TCP is reached, besides localhost and IP addresses
	Origins     []string // of pages that may send requests; see guard.Options
}

// Server answers on the control socket and over TCP.
type Server struct {
	o    Options
	mux  *http.ServeMux
	tcp  http.Handler
	own  http.Handler  // on the control socket
	read time.Duration // for a whole request over TCP

	comment time.Duration // between the comments of a stream of events, and looks at its token
}

// New makes a Server. An error is a mistake in Origins.
func New(o Options) (*Server, error) {
	if o.Authorize == nil {
		o.Authorize = func(string) (access.Identity, bool) { return access.Identity{}, false }
	}
	s := &Server{o: o, mux: http.NewServeMux(), read: readTime, comment: eventComment}
	for _, rt := range s.routes() {
		s.mux.HandleFunc(rt.pattern, s.handle(rt))
	}
	if o.Metrics != nil {
		s.mux.HandleFunc("GET /metrics", s.handle(route{pattern: "GET /metrics", scope: access.Read,
			stream: func(w http.ResponseWriter, r *http.Request) error {
				o.Metrics.ServeHTTP(w, r)
				return nil
			}}))
	}
	if o.Probes != nil {
		o.Probes(s.mux)
	}
	var err error
	if s.tcp, err = s.guarded(o.Hosts, s.known(nil)); err != nil {
		return nil, err
	}
	s.own, err = s.guarded(append([]string{clientHost}, o.Hosts...), s.known(o.Operated))
	return s, err
}

// guarded keeps pages of strangers in the operator's browser away from next, which is called hosts. That the
// control socket needs, too: a browser gets there through a tunnel.
func (s *Server) guarded(hosts []string, next http.Handler) (http.Handler, error) {
	g, err := guard.New(guard.Options{Hosts: hosts, HostsIn: "admin.hosts",
		Origins: s.o.Origins, OriginsIn: "admin.origins",
		Refuse: func(w http.ResponseWriter, status int, reason, hint string) {
			refuse(w, &fault{status, errors.New(reason), hint})
		}})
	if err != nil {
		return nil, err
	}
	return g.Wrap(next), nil
}

// known answers what the mux knows, and lets other answer the rest, but for what looks like a request to the
// API: that gets a Problem.
func (s *Server) known(other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := s.mux.Handler(r); pattern != "" {
			s.mux.ServeHTTP(w, r)
			return
		}
		var allowed []string
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			probe := r.Clone(r.Context())
			probe.Method = method
			if _, pattern := s.mux.Handler(probe); pattern != "" {
				allowed = append(allowed, method)
			}
		}
		switch {
		case len(allowed) > 0:
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			refuse(w, &fault{http.StatusMethodNotAllowed, fmt.Errorf("%s is not allowed here", r.Method),
				"use " + strings.Join(allowed, " or ")})
		case other != nil && !strings.HasPrefix(r.URL.Path, Version+"/"):
			other.ServeHTTP(w, r)
		default:
			refuse(w, &fault{http.StatusNotFound, errors.New("there is no such path"),
				"GET /v1/openapi.json lists them"})
		}
	})
}

// Serve answers on l, which Listen opened, until ctx ends, and removes the socket. Whoever asks there may do
// everything.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := s.server(s.own)
	h.BaseContext = func(net.Listener) context.Context { return asOperator(ctx) }
	return s.serve(ctx, h, l)
}

// The bounds of what strangers may hold on to over TCP.
const (
	maxConnections = 256
	readTime       = time.Minute     // for a whole request
	writeTime      = 2 * time.Minute // from its header to the end of the answer
)

// ServeTCP answers on l until ctx ends: requests with a token.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error {
	h := s.server(s.tcp)
	h.ReadTimeout, h.WriteTimeout = s.read, writeTime
	return s.serve(ctx, h, netutil.LimitListener(l, maxConnections))
}

// server is a server with the bounds that all have.
func (s *Server) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
}

// serve runs a server until ctx ends. Streams end then; other requests in progress have a few seconds.
func (s *Server) serve(ctx context.Context, h *http.Server, l net.Listener) error {
	return httpserver.Serve(ctx, h, l, s.o.Events.Close)
}
