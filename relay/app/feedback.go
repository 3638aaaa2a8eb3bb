package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/app/evidence"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/query"
	"mailwhy/relay/check/spf"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/mail"
	"mailwhy/relay/feedback/processor"
	"mailwhy/relay/feedback/recall"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/report"
)

// feedbackFile is the store of feedback, in the spool directory.
const feedbackFile = "feedback.db"

// FeedbackStore is where the store of feedback is, for commands that look into it while no relay runs.
func FeedbackStore(cfg *config.Config) string { return filepath.Join(cfg.Spool.Dir, feedbackFile) }

// feedbackRooms hear what becomes of mail after the upstream's 250, and act on it. A relay that is not to
// hear of it has none, remembers nothing and makes no file.
type feedbackRooms struct {
	store     *recall.Store
	processor *processor.Processor
	reporter  *report.Reporter // of the bounces that the store owes
	door      *hookDoor
	listener  net.Listener // of the webhooks; nil if there were none at the start
	mails     atomic.Pointer[mail.Reader]
	boxes     []box
	dns       spf.Resolver // nil: the system names no server
}

// openFeedback makes the rooms, if they are configured. On an error what was opened is left to Close.
func (r *Relay) openFeedback(cfg *config.Config, p *parts) (err error) {
	if !cfg.Feedback.On() {
		if _, err := os.Stat(FeedbackStore(cfg)); err == nil {
			r.log.Warn("feedback is off; what was remembered before is still in a file: remove it and its "+
				".lock file if you do not need it", "file", FeedbackStore(cfg))
		}
		return nil
	}
	f := &feedbackRooms{}
	if dns, err := query.Resolver(""); err == nil {
		f.dns = dns
	}
	f.door = newHookDoor(journal{f}, r.countRequest, r.log)
	f.mails.Store(r.mailReader(p))
	f.door.use(p.hooks)
	if f.store, err = recall.Open(recall.Options{
		Path: FeedbackStore(cfg), Spool: r.spool, Log: r.log, Now: time.Now, Stored: r.wake,
		Waiting: func() { f.processor.Kick() },
		Limits:  func() recall.Limits { return recallLimits(r.cfg.Load()) },
	}); err != nil {
		return fmt.Errorf("store of feedback: %w", err)
	}
	r.feedback = f
	f.processor = processor.New(processor.Options{
		Store: f.store, Spool: r.spool, Source: r.feedbackSource, Record: r.record, Log: r.log, Now: time.Now,
		Settings: func() processor.Settings { return processorSettings(r.cfg.Load()) },
		Diagnose: func(s diagnose.Symptom) diagnose.Diagnosis { return r.engine.Load().Diagnose(s) },
		Count:    r.countReport, Busy: r.Busy,
		NoticesDue: func() { f.reporter.Kick(); r.reporter.Kick() }, // also a success that the spool owes
		Owe:        r.webhooks.Owe, EntriesDue: r.webhooks.EntriesDue,
	})
	f.reporter = report.New(report.Options{
		Spool: f.store, Composer: (*currentComposer)(r), Record: r.record, Log: r.log, Now: time.Now,
		File:           dsn.WriteMaildir,
		Destination:    r.destination,
		FallbackSender: func(string) string { return r.cfg.Load().DSN.FallbackSender },
		EightBit:       r.eightBit,
		Storm:          func() report.StormPolicy { return options.Storms(r.cfg.Load()) },
		Stored:         r.wake,
	})
	if f.boxes, err = r.newBoxes(cfg); err != nil {
		return &ConfigError{err}
	}
	if cfg.Feedback.Listen == "" {
		return nil
	}
	if f.listener, err = net.Listen("tcp", cfg.Feedback.Listen); err != nil {
		return fmt.Errorf("feedback.listen: %w", err)
	}
	return nil
}

// recallLimits bound what is remembered and kept.
func recallLimits(cfg *config.Config) recall.Limits {
	return recall.Limits{
		Remember: cfg.Feedback.Remember, MaxMessages: int64(cfg.Feedback.MaxMessages),
		KeepRaw: cfg.Feedback.KeepRaw, MaxReports: config.FeedbackReports,
		MaxBytes: int64(config.FeedbackBytes),
	}
}

// processorSettings are the processor's part.
func processorSettings(cfg *config.Config) processor.Settings {
	return processor.Settings{
		Notice: processor.Notice(cfg.Feedback.Notice), Collect: cfg.DSN.Collect,
		Delivered: cfg.Feedback.Delivered,
	}
}

// feedbackSource is a configured source by its name.
func (r *Relay) feedbackSource(name string) (processor.Source, bool) {
	f := r.feedback
	if hook := f.door.current.Load().byName[name]; hook != nil {
		s := processor.Source{Read: hook.Read, Prove: hook.ProveRaw, Proven: true}
		for _, w := range r.cfg.Load().Feedback.Webhook {
			if w.Name == name {
				s.Lanes = w.Upstreams
			}
		}
		return s, true
	}
	// A mailbox or a pipe has what came to somebody's address; the listener takes mail to return paths only.
	return processor.Source{
		Read: f.mails.Load().Read, SenderHas: name != bounceSource, Evidence: f.evidence,
	}, r.takesMail(name)
}

// evidence says who wrote a mail.
func (f *feedbackRooms) evidence(ctx context.Context, raw *feedback.Raw) feedback.Evidence {
	if f.dns == nil {
		return feedback.Evidence{Unknown: true}
	}
	return evidence.Of(ctx, f.dns, raw)
}

// countRequest counts a request to a webhook that proved nothing; the processor counts the others.
func (r *Relay) countRequest(source string, result webhook.Result) {
	if result == webhook.ResultUnproven || result == webhook.ResultLimited {
		r.metrics.Feedback(string(feedback.SourceWebhook), r.providerOf(source),
			string(webhook.ResultUnproven))
	}
}

// countReport counts what became of a report.
func (r *Relay) countReport(c processor.Counted) {
	way := c.Way
	switch {
	case way != "":
	case c.Provider == mail.Provider: // a complaint is never unreadable
		way = feedback.SourceDSN
	default:
		way = feedback.SourceWebhook
	}
	r.metrics.Feedback(string(way), c.Provider, string(c.Result))
}

// providerOf is the provider of a webhook.
func (r *Relay) providerOf(name string) string {
	for _, w := range r.cfg.Load().Feedback.Webhook {
		if w.Name == name {
			return w.Provider
		}
	}
	return ""
}

// feedbackState is what the metrics say of feedback.
func (r *Relay) feedbackState() (s metrics.FeedbackState) {
	if r.feedback == nil {
		return s
	}
	store, now := r.feedback.store, time.Now()
	held := store.Stat()
	s.Waiting, s.Kept, s.Remembered = held.Waiting, held.Kept, held.Messages
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout)
	defer cancel()
	if b, err := store.Backlog(ctx, now); err == nil && b.Due > 0 { // else Fault says why
		s.Due, s.Age = b.Due, max(0, now.Sub(b.Oldest))
	}
	return s
}

// backlogTimeout is how long a scrape waits for the store.
const backlogTimeout = 3 * time.Second

// journal is the store as a webhook sees it, which may come before it is open.
type journal struct{ f *feedbackRooms }

// Append implements webhook.Journal and mail.Journal.
func (j journal) Append(ctx context.Context, raw *feedback.Raw) error {
	return j.f.store.Append(ctx, raw)
}

// relayed is what the lanes tell of mail that was handed over; nil without feedback.
func (r *Relay) relayed() func(*relay.Message) {
	if r.feedback == nil {
		return nil
	}
	return r.feedback.store.Relayed
}

// runFeedback works until ctx ends. The webhooks answer on until shutdownFeedback.
func (r *Relay) runFeedback(ctx context.Context, works *sync.WaitGroup) {
	f := r.feedback
	if f == nil {
		return
	}
	works.Go(func() { f.processor.Run(ctx) })
	works.Go(func() { f.reporter.Run(ctx) })
	for _, b := range f.boxes {
		works.Go(func() { b.Run(ctx) })
	}
	if f.listener == nil {
		return
	}
	r.log.Info("listening for webhooks", "address", f.listener.Addr().String())
	withTLS := r.cfg.Load().Feedback.TLS
	works.Go(func() {
		if err := f.door.serve(f.listener, withTLS, r.frontTLS); err != nil {
			r.log.Error("no webhooks over HTTP", "err", err)
			r.faults.add("no webhooks over HTTP: " + err.Error())
		}
	})
}

// frontTLS is the front door's certificate in force.
func (r *Relay) frontTLS() *tls.Config { return r.cert.Load().current() }

// shutdownFeedback takes nothing in any more, and answers what is under way.
func (r *Relay) shutdownFeedback(ctx context.Context) {
	if r.feedback != nil && r.feedback.listener != nil {
		r.feedback.door.shutdown(ctx)
	}
}

// close closes the listener and the store.
func (f *feedbackRooms) close() error {
	if f == nil {
		return nil
	}
	if f.listener != nil {
		f.listener.Close()
	}
	return f.store.Close()
}

// FeedbackAddr is where the webhooks are; nil where there are none.
func (r *Relay) FeedbackAddr() net.Addr {
	if r.feedback == nil || r.feedback.listener == nil {
		return nil
	}
	return r.feedback.listener.Addr()
}

// fixedFeedback is what of feedback a reload cannot change.
func fixedFeedback(f *config.Feedback) []any {
	return []any{f.On(), f.Listen, f.TLS, f.Mailbox}
}
