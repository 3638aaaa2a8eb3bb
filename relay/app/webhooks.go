package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/query"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/feedback/webhook/limit"
	"mailwhy/relay/feedback/webhook/sns"
)

// hooks are the webhooks of a configuration.
type hooks struct {
	byName   map[string]*webhook.Hook
	names    map[string]string           // by path
	handlers map[string]*webhook.Handler // likewise; made by hookDoor.use
	cert     *certificate                // of feedback.cert_file; nil without
}

// newHooks makes the webhooks of a configuration, or says all that is wrong with them.
func newHooks(cfg *config.Config, fetcher webhook.Fetcher, log *slog.Logger) (*hooks, error) {
	hs := &hooks{byName: map[string]*webhook.Hook{}, names: map[string]string{}}
	var errs []error
	for i := range cfg.Feedback.Webhook {
		w := &cfg.Feedback.Webhook[i]
		source, err := sourceOf(cfg, w)
		var hook *webhook.Hook
		if err == nil {
			hook, err = webhook.New(source, fetcherOf(w, fetcher))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("feedback.webhook[%d]: %w", i, err))
			continue
		}
		hs.byName[w.Name], hs.names[w.Path] = hook, w.Name
	}
	if f := &cfg.Feedback; f.CertFile != "" {
		own := config.TLS{CertFile: f.CertFile, KeyFile: f.KeyFile, MinVersion: cfg.TLS.MinVersion}
		var err error
		if hs.cert, err = newCertificate(&own, log); err != nil {
			errs = append(errs, fmt.Errorf("feedback.%w", err))
		}
	}
	return hs, errors.Join(errs...)
}

// sourceOf is a webhook as its room wants it.
func sourceOf(cfg *config.Config, w *config.Webhook) (webhook.Source, error) {
	s := webhook.Source{Name: w.Name, Provider: w.Provider, Keys: options.Revealed(w.SigningKey),
		Credentials: options.Revealed(w.Credential), Topics: w.Topics, URL: query.WebhookURL(cfg, w, true)}
	if w.RootsFile == "" {
		return s, nil
	}
	pem, err := os.ReadFile(w.RootsFile)
	if err != nil {
		return s, fmt.Errorf("roots_file: %w", err)
	}
	s.Roots = x509.NewCertPool()
	if !s.Roots.AppendCertsFromPEM(pem) {
		return s, fmt.Errorf("roots_file %s holds no certificate in PEM", w.RootsFile)
	}
	return s, nil
}

// fetcherOf gets the certificates of a webhook: the real ones, unless a rehearsal is configured.
func fetcherOf(w *config.Webhook, real webhook.Fetcher) webhook.Fetcher {
	if w.PracticeCertFile != "" {
		return sns.Practice{File: w.PracticeCertFile}
	}
	return real
}

// hookDoor is the HTTP server of the webhooks. What it serves may be replaced while it does.
type hookDoor struct {
	journal webhook.Journal
	record  func(source string, result webhook.Result) // for metrics
	log     *slog.Logger
	now     func() time.Time
	slots   chan struct{}
	limit   limit.Limit
	current atomic.Pointer[hooks]
	server  http.Server
	quiet   quiet
}

// newHookDoor makes a door that serves nothing yet. front is the certificate of the front door.
func newHookDoor(j webhook.Journal, record func(string, webhook.Result), log *slog.Logger) *hookDoor {
	d := &hookDoor{journal: j, record: record, log: log, now: time.Now,
		slots: make(chan struct{}, config.FeedbackSlots), quiet: quiet{last: map[string]time.Time{}}}
	d.limit = limit.Limit{Burst: config.FeedbackFailures, Every: config.FeedbackFailedEvery,
		Most: config.FeedbackClients, Now: time.Now}
	d.server = http.Server{
		Handler:           d,
		ReadHeaderTimeout: config.FeedbackHeaderTime,
		WriteTimeout:      config.FeedbackHeaderTime + 2*config.FeedbackAnswer,
		IdleTimeout:       config.FeedbackIdle,
		MaxHeaderBytes:    int(config.FeedbackHeader),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what strangers do wrong
		Protocols:         new(http.Protocols),
	}
	d.server.Protocols.SetHTTP1(true) // one request a connection at a time, so that connections bound them
	return d
}

// use puts webhooks in force.
func (d *hookDoor) use(hs *hooks) {
	hs.handlers = map[string]*webhook.Handler{}
	for path, name := range hs.names {
		hs.handlers[path] = &webhook.Handler{
			Hook: hs.byName[name], Journal: d.journal, MaxBody: int64(config.FeedbackBody),
			Timeout: config.FeedbackAnswer, Slots: d.slots, Limit: &d.limit, Now: d.now,
			Record: func(result webhook.Result, err error) {
				d.record(name, result)
				if err != nil {
					d.tell(name, result, err)
				}
			},
		}
	}
	d.current.Store(hs)
}

// tell logs a request that was not taken, but not each one of a flood.
func (d *hookDoor) tell(name string, result webhook.Result, err error) {
	if left, now := d.quiet.ask(name+" "+string(result), d.now()); now {
		level := slog.LevelWarn
		if result == webhook.ResultFailed {
			level = slog.LevelError
		}
		d.log.Log(context.Background(), level, "a request to a webhook was not taken", "webhook", name,
			"result", result, "err", err, "not_logged", left)
	}
}

// ServeHTTP implements http.Handler. Whoever asks for another path learns nothing.
func (d *hookDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := d.current.Load().handlers[r.URL.Path]
	if h == nil {
		w.Header().Set("Connection", "close") // connections are few, and for those who have proved something
		w.WriteHeader(http.StatusNotFound)
		return
	}
	h.ServeHTTP(w, r)
}

// serve answers on l until shutdown; front is the certificate in force of the front door, for one of its own.
func (d *hookDoor) serve(l net.Listener, withTLS bool, front func() *tls.Config) error {
	l = netutil.LimitListener(l, hookConnections(descriptorLimit()))
	if withTLS {
		l = tls.NewListener(l, &tls.Config{
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				conf := front()
				if own := d.current.Load().cert; own != nil {
					conf = own.current()
				}
				if conf == nil {
					return nil, errors.New("there is no certificate")
				}
				return conf, nil
			},
		})
	}
	if err := d.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutdown ends the server when the requests under way are answered, or when ctx ends.
func (d *hookDoor) shutdown(ctx context.Context) {
	if d.server.Shutdown(ctx) != nil {
		d.server.Close()
	}
}

// quietFor is how long the same is not logged again.
const quietFor = time.Minute

// quiet keeps what strangers can cause from filling the log.
type quiet struct {
	mu      sync.Mutex
	last    map[string]time.Time // when it was logged last; its keys are few
	skipped map[string]int
}

// ask reports whether something may be logged now, and how often it was not since the last time.
func (q *quiet) ask(what string, now time.Time) (skipped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.skipped == nil {
		q.skipped = map[string]int{}
	}
	if last, before := q.last[what]; before && now.Sub(last) < quietFor {
		q.skipped[what]++
		return 0, false
	}
	skipped = q.skipped[what]
	q.last[what], q.skipped[what] = now, 0
	return skipped, true
}
