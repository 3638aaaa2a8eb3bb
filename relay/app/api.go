package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/admin/stream"
	"mailwhy/relay/app/query"
	"mailwhy/relay/record"
	"mailwhy/relay/suppress/transfer"
)

// newEvents is what follows events over the API.
func newEvents() *stream.Stream {
	return stream.New(stream.Options{
		Run:  strconv.FormatInt(time.Now().UnixMilli(), 36),
		Keep: config.AdminEvents, Followers: config.AdminFollowers,
	})
}

// openAdmin makes the API, and opens its listener if one is wanted.
func (r *Relay) openAdmin(cfg *config.Config) (err error) {
	tokens := access.NewTokens(cfg.Admin.TokensFile, time.Now)
	o := admin.Options{
		Queue: r.spool, Control: (*control)(r), Record: r.record, Log: r.log, Now: time.Now,
		Metrics:  r.metrics,
		Operated: r.page.Operated(),
		Probes:   r.life.Handle,
		Members:  r.members(),
		Webhooks: r.webhooks,
		Feedback: r.operated(), EraseEvents: r.page.EraseEvents(),
		Suppressions: r.suppressionList(), Files: (*listFiles)(r),
		Diagnose: r.diagnose, Policy: r.testPolicy,
		Settings: r.settingsInForce, Events: r.events, Encode: r.encode,
		Authorize: tokens.Authorize, TokensFault: tokens.Fault,
		Hosts: append([]string{cfg.Hostname}, cfg.Admin.Hosts...), Origins: cfg.Admin.Origins,
	}
	if r.admin, err = admin.New(o); err != nil {
		return &ConfigError{fmt.Errorf("admin.origins: %w", err)}
	}
	if cfg.Admin.Listen == "" {
		return nil
	}
	if r.api, err = net.Listen("tcp", cfg.Admin.Listen); err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	return nil
}

// serveAPI answers over TCP until ctx ends. Without it mail flows all the same.
func (r *Relay) serveAPI(ctx context.Context, works *sync.WaitGroup) {
	if r.api == nil {
		return
	}
	l := r.api
	if r.cfg.Load().Admin.TLS == "implicit" {
		current := func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.cert.Load().current(), nil }
		l = tls.NewListener(l, &tls.Config{GetConfigForClient: current})
	}
	r.log.Info("listening for the HTTP API", "address", l.Addr().String())
	works.Go(func() {
		if err := r.admin.ServeTCP(ctx, l); err != nil {
			r.log.Error("no HTTP API", "err", err)
			r.faults.add("no HTTP API: " + err.Error())
		}
	})
}

// APIAddr is where the HTTP API is answered over TCP; nil when admin.listen is not set.
func (r *Relay) APIAddr() net.Addr {
	if r.api == nil {
		return nil
	}
	return r.api.Addr()
}

// encode is the JSON form of an event, with its addresses as they are in the delivery log.
func (r *Relay) encode(e *relay.Event) []byte {
	out := record.New(e)
	r.redact(&out)
	return out.AppendJSON(nil)
}

// diagnose asks the engine in force.
func (r *Relay) diagnose(s diagnose.Symptom) diagnose.Diagnosis { return r.engine.Load().Diagnose(s) }

// settingsInForce are the settings, with secrets redacted.
func (r *Relay) settingsInForce() (list []admin.Setting) {
	for _, s := range r.cfg.Load().Settings() {
		list = append(list, admin.Setting{Key: s.Key, Value: s.Value, From: s.From})
	}
	return list
}

// testPolicy asks the policies in force about a refusal.
func (r *Relay) testPolicy(q admin.PolicyQuery) (out admin.PolicyAnswer, err error) {
	asked := query.Policy{Reply: q.Reply, Stage: q.Stage, From: q.From, To: q.To, Client: q.Client,
		Upstream: q.Upstream, Attempt: q.Attempt}
	a, err := asked.Answer(r.cfg.Load())
	if err != nil {
		return out, err
	}
	out = admin.PolicyAnswer{Category: a.Diagnosis.Category, Reason: a.Diagnosis.Reason, Outcome: a.State,
		WaitS: a.Wait.Seconds()}
	if a.Ruling != nil {
		out.Policy, out.Action, out.Note = a.Ruling.Policy, string(a.Ruling.Action), a.Note()
	}
	return out, nil
}

// listFiles reads and writes suppression lists as files.
type listFiles Relay

// Import implements admin.SuppressionFiles.
func (f *listFiles) Import(ctx context.Context, in io.Reader, o admin.ImportOptions) (admin.Imported, error) {
	var lines []admin.BadLine
	tell := func(line int, why string) {
		if len(lines) < maxBadLines {
			lines = append(lines, admin.BadLine{Line: line, Why: why})
		}
	}
	ttl := f.cfg.Load().Suppression.TTLs()
	got, err := transfer.Import(ctx, in, transfer.Options{
		Add: f.suppressed.Put, Diagnose: (*Relay)(f).diagnose,
		Scope: o.Scope, Reason: o.Reason, All: o.All, Expires: o.Expires,
		Bounces: time.Now().Add(ttl[len(ttl)-1]),
		Bad:     func(line int, err error) { tell(line, err.Error()) },
		NotAbout: func(line int, address, why string) error {
			tell(line, address+": not about the address: "+why)
			return nil
		},
	})
	return admin.Imported{Added: got.Added, Known: got.Known, NotAbout: got.NotAbout, Bad: got.Bad,
		Lines: lines}, err
}

// maxBadLines is how many lines an import tells of.
const maxBadLines = 1000

// Export implements admin.SuppressionFiles.
func (f *listFiles) Export(ctx context.Context, out io.Writer) error {
	return transfer.Export(out, func(write func(*relay.Suppression) error) (err error) {
		filter := relay.SuppressionFilter{State: relay.SuppressionActive}
		errList := f.suppressed.List(ctx, filter, func(s *relay.Suppression) bool {
			err = write(s)
			return err == nil
		})
		if err == nil {
			err = errList
		}
		return err
	})
}
