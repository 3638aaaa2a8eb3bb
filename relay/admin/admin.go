// Package admin is the operator's way into a running relay: health, and the queue, over HTTP on a unix
// socket in the spool directory.
//
// cmd/mailwhy starts a Server beside the relay and speaks to it through a Client (`mailwhy queue`, `mailwhy
// health`). Who can open the socket (mode 0600: the relay's own user and root) may do everything; there is
// no other authentication, and nothing listens on the network.
//
//	GET  /health                     200 or 503, a Health either way
//	GET  /livez, /readyz             200 or 503, and why; see Options.Probes
//	GET  /metrics                    the page of Options.Metrics
//	GET  /queue?FILTER               a Summary a line, in id order
//	GET  /queue/ID                   the whole message as it stands, a relay.Message; 404
//	POST /queue/ACTION?FILTER        retry, hold, release or drop; an Outcome a line
//	GET  /remembered/ID              what is known of a message that left the queue, []Remembered; 404
//	GET  /feedback?FILTER            a Report a line: what came back and waits, or could have no effect
//	GET  /feedback/ID                one, whole; 404
//	POST /feedback/replay?FILTER     looks at them again; a Count
//	POST /feedback/take?webhook=     takes the body as a request to that webhook
//	POST /feedback/mail              takes the body as bounce mail; a Mailed
//	POST /feedback/send?webhook=     sends a test message; a Sent
//	GET  /webhooks                   how those stand to which events are sent, []relay.WebhookState
//	POST /webhooks/NAME/test         sends a test event; a relay.WebhookTest; 404
//	POST /webhooks/NAME/replay?since= sends events since a time (RFC 3339) again; a Replayed; 404
//	POST /webhooks/NAME/enable       lets one that is disabled or waits go on; 404
//	GET  /suppressions?FILTER        an entry of the suppression list a line
//	POST /suppressions               adds the entries of the body, one a line; a SuppressionResult a line
//	DELETE /suppressions?address=    removes an address, of one scope= or of all; a Removed
//	GET  /suppressions/state         how the list stands
//	POST /v1/diagnose                an Explained for a Refusal, or a list of them for a list
//
// FILTER is sender, recipient, category, state, older_than (RFC 3339), id (repeatable), after, limit; an
// action wants at least one of them, or all=true.
//
// That of the suppression list is address, scope, reason, state.
//
// What always holds: a message that is on its way to the upstream is not changed under it: the edit waits for
// the lease to end. Each change is durable before its Outcome is written, and is recorded as an event after
// it. The queue is read in pages, so that a slow reader holds no transaction of the spool open. Contents
// are never shown.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
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
	// Lanes says how each lane stands.
	Lanes() []relay.LaneState
	// Faults are the reasons why the relay does not do all of its work: a listener that ended, a log that
	// cannot be written. None means that it is healthy.
	Faults() []string
	// Notes are what an operator should know of a healthy relay too.
	Notes() []string
}

// Options are what a Server is made of. All are required but Metrics, Probes, Feedback, Webhooks and
// Suppressions.
type Options struct {
	Queue   Queue
	Control Control
	Record  relay.Recorder
	Log     *slog.Logger
	Now     func() time.Time // wall clock
	Metrics http.Handler     // answers GET /metrics; nil: 404
	// Probes has a mux answer GET /livez and GET /readyz; nil: 404.
	Probes func(*http.ServeMux)

	Feedback     Feedback              // nil: it is not configured
	Webhooks     Webhooks              // nil: there are none, ever
	Suppressions relay.SuppressionList // nil: it is off
	// Diagnose is the engine in force, with the operator's own rules.
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
}

// Server answers on the control socket.
type Server struct {
	o    Options
	http http.Server
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{o: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /queue", s.list)
	mux.HandleFunc("GET /queue/{id}", s.show)
	mux.HandleFunc("POST /queue/{action}", s.act)
	mux.HandleFunc("POST /v1/diagnose", s.diagnose)
	s.handleFeedback(mux)
	s.handleWebhooks(mux)
	s.handleSuppressions(mux)
	if o.Probes != nil {
		o.Probes(mux)
	}
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers on l, which Listen opened, until ctx ends, and removes the socket. Requests in progress
// have a few seconds to end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ended := make(chan struct{})
	defer func() { <-ended }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(ended)
		<-ctx.Done()
		grace, stop := context.WithTimeout(context.Background(), 2*time.Second)
		defer stop()
		if s.http.Shutdown(grace) != nil {
			s.http.Close()
		}
	}()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reply writes v as JSON with a status.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}

// problem is the body of an answer that is an error.
type problem struct {
	Error string `json:"error"`
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, status int, err error) {
	reply(w, status, problem{err.Error()})
}

// lines begins an answer of JSON lines.
func lines(w http.ResponseWriter) *json.Encoder {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return json.NewEncoder(w)
}

// status is the HTTP status for an error of the spool.
func status(err error) int {
	if errors.Is(err, relay.ErrNotFound) {
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
