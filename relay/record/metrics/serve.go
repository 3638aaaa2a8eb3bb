package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// writeTimeout is how long a scraper may take to read a page.
const writeTimeout = 10 * time.Second

// maxScrapers bounds the connections to a listener that any machine may reach.
const maxScrapers = 32

// ServeHTTP implements http.Handler: it answers with the page.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A server that sets no deadline of its own keeps this one for the next request, so it is taken back.
	c := http.NewResponseController(w)
	c.SetWriteDeadline(time.Now().Add(statTimeout + writeTimeout))
	m.page.ServeHTTP(w, r)
	c.Flush()
	c.SetWriteDeadline(time.Time{})
}

// Serve answers GET /metrics, and what more has the mux answer, on l until ctx ends. It closes l.
func (m *Metrics) Serve(ctx context.Context, l net.Listener, log *slog.Logger,
	more func(*http.ServeMux)) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	more(mux)
	s := http.Server{
		Handler:        mux,
		ReadTimeout:    10 * time.Second,
		WriteTimeout:   writeTimeout + statTimeout,
		IdleTimeout:    2 * time.Minute, // scrapes are less than that apart, and come on one connection
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(netutil.LimitListener(l, maxScrapers)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
