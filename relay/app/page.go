package app

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"mailwhy/config"
	configpage "mailwhy/config/page"
	"mailwhy/diagnose"
	"mailwhy/relay/app/build"
	"mailwhy/relay/app/page"
	"mailwhy/relay/record"
)

// openPage opens the web page.
func (r *Relay) openPage() (err error) {
	r.page, err = page.Open(page.Options{
		Config:   func() *config.Config { return r.cfg.Load() },
		Diagnose: func(s diagnose.Symptom) diagnose.Diagnosis { return r.engine.Load().Diagnose(s) },
		Import:   (*listFiles)(r).Import,
		Probe: func(name string) {
			if name == "" {
				(*control)(r).TryNow()
			} else {
				(*control)(r).Probe(name)
			}
		},
		Certificate: func() *tls.Config {
			if cert := r.cert.Load(); cert != nil {
				return cert.current()
			}
			return nil
		},
		Redact: r.redact, Finder: func(address string) func(*record.Event) bool {
			return r.redactor.Load().Finder(address)
		},
		Version: build.Version(), Log: r.log,
	})
	return err
}

// servePage answers at page.listen until ctx ends. Without it mail flows all the same.
func (r *Relay) servePage(ctx context.Context, works *sync.WaitGroup) {
	works.Go(func() {
		if err := r.page.Serve(ctx); err != nil {
			r.log.Error("no web page", "err", err)
			r.faults.add("no web page: " + err.Error())
		}
	})
}

// PageAddr is where the web page is; nil when page.listen is not set.
func (r *Relay) PageAddr() net.Addr { return r.page.Addr() }

// fixedPage is what of the page a reload cannot change.
func fixedPage(p *configpage.Page) configpage.Page {
	fixed := *p
	fixed.Keep, fixed.MaxEvents = 0, 0
	return fixed
}
