// Package page joins the web page with a relay: it makes its history, opens its listener, and tells it what
// is configured. relay/app opens one in each relay.
package page

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
	web "mailwhy/relay/admin/page"
	"mailwhy/relay/record"
	"mailwhy/relay/record/history"
)

// Options are what a Page is made of. All are required.
type Options struct {
	Config   func() *config.Config // in force
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	Probe    func(name string) // makes a paused upstream be tried now; "": all of them
	// Import adds the entries of a suppression list. It is not called while suppression is off.
	Import      func(ctx context.Context, in io.Reader, o admin.ImportOptions) (admin.Imported, error)
	Certificate func() *tls.Config  // of the front door, for page.tls = "implicit"
	Redact      func(*record.Event) // of the events that the history keeps
	// Finder finds an address in the events that the history has.
	Finder  func(address string) func(*record.Event) bool
	Version string
	Log     *slog.Logger
}

// Operated is where the page is on the control socket.
const Operated = "/page"

// maxConnections is how many the page answers at a time: strangers must not use up the file descriptors that
// mail needs.
const maxConnections = 256

// Page is the page of a relay, and its history.
type Page struct {
	o        Options
	web      *web.Page
	history  *history.History // nil: there is none
	listener net.Listener     // nil: page.listen is not set
}

// Open opens the history and the listener, as far as they are configured.
func Open(o Options) (*Page, error) {
	cfg := o.Config()
	p := &Page{o: o}
	c := &cfg.Page
	if c.Listen != "" {
		l, err := net.Listen("tcp", c.Listen)
		if err != nil {
			return nil, fmt.Errorf("page.listen: %w", err)
		}
		p.listener = netutil.LimitListener(l, maxConnections)
		if c.TLS == "implicit" {
			p.listener = tls.NewListener(p.listener, &tls.Config{GetConfigForClient: p.certificate})
		}
	}
	w := web.Options{
		Relay: admin.NewClient(cfg.Admin.Socket), Diagnose: o.Diagnose, Probe: o.Probe,
		Upstreams: p.upstreams, Configuration: p.configuration, Warnings: p.warnings, Import: o.Import,
		Authorize: access.NewTokens(cfg.Admin.TokensFile, time.Now).Authorize,
		Path:      c.Path, Hosts: append([]string{cfg.Hostname}, c.Hosts...), Proxies: c.TrustedProxies,
		AuthHeader: c.AuthHeader, Writers: c.Writers, Idle: c.SessionIdle, Max: c.SessionMax,
		Version: o.Version, Log: o.Log, Now: time.Now,
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		w.Hosts = append(w.Hosts, host)
	}
	if c.Remembers() {
		p.history = history.Open(history.Options{Path: filepath.Join(cfg.Spool.Dir, "history.db"),
			Limits: p.limits, Redact: o.Redact, Log: o.Log, Now: time.Now})
		w.History = p.history
	}
	var err error
	if p.web, err = web.New(w); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// certificate is the one in force.
func (p *Page) certificate(*tls.ClientHelloInfo) (*tls.Config, error) {
	if conf := p.o.Certificate(); conf != nil {
		return conf, nil
	}
	return nil, errors.New("there is no certificate")
}

// limits are those of the history.
func (p *Page) limits() history.Limits {
	c := &p.o.Config().Page
	return history.Limits{Keep: c.Keep, MaxEvents: c.MaxEvents}
}

// Record implements relay.Recorder. Without a history it does nothing.
func (p *Page) Record(e relay.Event) {
	if p.history != nil {
		p.history.Record(e)
	}
}

// EraseEvents erases in the history; nil if there is none.
func (p *Page) EraseEvents() admin.EraseEvents {
	if p.history == nil {
		return nil
	}
	return func(ctx context.Context, address string, act bool) (admin.ErasedEvents, error) {
		e, err := p.history.Erase(ctx, p.o.Finder(address), act)
		return admin.ErasedEvents(e), err
	}
}

// Operated answers on the control socket, below Operated.
func (p *Page) Operated() http.Handler { return p.web.Operated(Operated) }

// Addr is where the page is; nil when page.listen is not set.
func (p *Page) Addr() net.Addr {
	if p.listener == nil {
		return nil
	}
	return p.listener.Addr()
}

// Serve answers at page.listen until ctx ends. Without it it only waits.
func (p *Page) Serve(ctx context.Context) error {
	defer p.web.Close()
	if p.listener == nil {
		<-ctx.Done()
		return nil
	}
	p.o.Log.Info("listening for the web page", "address", p.listener.Addr().String())
	return p.web.Serve(ctx, p.listener)
}

// Close closes what Open opened. A Page that is nil has nothing to close.
func (p *Page) Close() (err error) {
	if p == nil {
		return nil
	}
	if p.listener != nil {
		p.listener.Close()
	}
	if p.history != nil {
		err = p.history.Close()
	}
	return err
}
