// Package practicecmd has the part of `mailwhy practice` that tells of mail after it was taken: with --events
// it sends the relay's webhook what the provider would, some time after the 250.
//
// The practice upstream is package smtptest's, the events are those of smtptest/events; this package watches
// the one and starts the other. An event has the id of the 250 that was really said. What always holds: the
// upstream never waits for an event, and nothing of it is running after Close.
package practicecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

// Options are the flags of the command, and what the command knows already.
type Options struct {
	URL         string // of the webhook
	Provider    string
	After       time.Duration // between the 250 and the event
	Key         string
	Credential  string
	Topic       string
	Certificate string // the file to write the certificate of a topic to
	Speed       float64
	Log         func(what, rest string) // a line of the log, from several goroutines
}

// Register adds the flags to a command.
func (o *Options) Register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.URL, "events", "", "`URL` of the relay's webhook, for the events of --as")
	f.DurationVar(&o.After, "after", 2*time.Second, "`time` between the 250 and the event")
	f.StringVar(&o.Key, "events-key", "",
		"the `text` that signatures are made with; made up without this flag")
	f.StringVar(&o.Credential, "events-credential", "",
		"what the requests present: `user:password`, 'Header-Name: value' or '?name=value'")
	f.StringVar(&o.Topic, "events-topic", "", "`ARN` of the topic that --as ses or scaleway publishes to")
	f.StringVar(&o.Certificate, "events-certificate", "",
		"`file` to write the certificate to that --as ses or scaleway signs with")
}

// Alone reports whether there are events of a provider, though no imitation of its server.
func (o *Options) Alone(provider string) bool { return o.URL != "" && provider == "mandrill" }

// maxPending is how many events may wait. What more is asked for is told, and left out.
const maxPending = 10_000

// Events sends events about the mail that a practice upstream takes.
type Events struct {
	o        Options
	sender   *events.Sender
	settings events.Settings

	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	pending atomic.Int64

	mu      sync.Mutex
	replies map[*smtptest.Message]string // what is said of a message that is being taken
}

// New makes Events, and writes the certificate of a topic where the provider has one. Without a URL it makes
// a nil Events, which does nothing.
func New(o Options) (*Events, error) {
	if o.URL == "" {
		return nil, o.unused()
	}
	if o.Provider == "" {
		return nil, errors.New("--events: say with --as whose events they are")
	}
	e := &Events{o: o, replies: map[*smtptest.Message]string{}}
	so := events.Options{Provider: o.Provider, URL: o.URL, Key: o.Key, Credential: o.Credential,
		Topic: o.Topic, Speed: o.Speed,
		Client: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 8},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if o.Provider == "ses" || o.Provider == "scaleway" {
		var err error
		if so.Signer, err = e.signer(); err != nil {
			return nil, err
		}
	} else if o.Certificate != "" {
		return nil, fmt.Errorf("--events-certificate: %s signs with no certificate", o.Provider)
	}
	var err error
	if e.sender, err = events.New(so); err != nil {
		return nil, fmt.Errorf("--events: %w", err)
	}
	if e.settings, err = e.sender.Settings(); err != nil {
		return nil, err
	}
	if o.After < 0 {
		return nil, fmt.Errorf("--after: below zero: %v", o.After)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// unused reports a flag that does nothing without --events.
func (o *Options) unused() error {
	for _, f := range []struct{ name, value string }{
		{"key", o.Key}, {"credential", o.Credential}, {"topic", o.Topic}, {"certificate", o.Certificate},
	} {
		if f.value != "" {
			return fmt.Errorf("--events-%s: does nothing without --events", f.name)
		}
	}
	return nil
}

// signer makes the signer of a topic's messages and writes its certificate.
func (e *Events) signer() (*events.Signer, error) {
	if e.o.Certificate == "" {
		return nil, fmt.Errorf("--events-certificate: name a file for it: %s signs with a certificate, and "+
			"the relay must be told to believe that of practice", e.o.Provider)
	}
	s, err := events.NewSigner(time.Now())
	if err != nil {
		return nil, err
	}
	if err := writeCertificate(e.o.Certificate, s.PEM); err != nil {
		return nil, fmt.Errorf("--events-certificate: %w", err)
	}
	e.o.Certificate, err = filepath.Abs(e.o.Certificate)
	return s, err
}

// Close ends what was begun. Events that wait are not sent.
func (e *Events) Close() {
	if e == nil {
		return
	}
	e.cancel()
	e.wg.Wait()
}

// Watch has o tell e of the mail that it takes.
func (e *Events) Watch(o *smtptest.Options) {
	if e == nil {
		return
	}
	script, deliver := o.Script, o.Deliver
	o.Script = func(cmd smtptest.Command) smtptest.Action {
		a := script(cmd)
		if cmd.Stage == diagnose.StageEndOfData && strings.HasPrefix(a.Reply, "2") {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.replies[cmd.Arrived] = a.Reply
		}
		return a
	}
	o.Deliver = func(m *smtptest.Message) error {
		e.mu.Lock()
		reply := e.replies[m]
		delete(e.replies, m)
		e.mu.Unlock()
		if err := deliver(m); err != nil {
			return err
		}
		e.taken(m, idIn(reply))
		return nil
	}
}

// idIn is the id in a provider's 250: its last word.
func idIn(reply string) string {
	words := strings.Fields(reply)
	if len(words) == 0 {
		return ""
	}
	return strings.Trim(strings.TrimPrefix(words[len(words)-1], "id="), "<>")
}

// taken starts the events that the recipients of a message ask for.
func (e *Events) taken(m *smtptest.Message, id string) {
	header, _, _ := bytes.Cut(m.Content, []byte("\r\n\r\n"))
	mail := &events.Mail{ID: id, From: m.From, Header: append(bytes.Clone(header), "\r\n\r\n"...)}
	for _, r := range m.To {
		mail.To = append(mail.To, r.Address)
	}
	for _, to := range mail.To {
		event, ok := events.Asked(m.From, to, time.Now().Add(e.o.After))
		if !ok {
			continue
		}
		if e.pending.Add(1) > maxPending {
			e.pending.Add(-1)
			e.o.Log("event", fmt.Sprintf("%s <%s>  left out: %d wait already", event.Kind, to, maxPending))
			continue
		}
		e.wg.Go(func() {
			defer e.pending.Add(-1)
			e.send(mail, &event)
		})
	}
}

// send sends one event when its time has come.
func (e *Events) send(m *events.Mail, event *events.Event) {
	t := time.NewTimer(e.o.After)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.ctx.Done():
		return
	}
	what := fmt.Sprintf("%s <%s>", event.Kind, event.Recipient)
	err := e.sender.Send(e.ctx, m, event, func(try events.Try) { e.o.Log("event", what+"  "+outcome(try)) })
	if errors.Is(err, events.ErrUntold) {
		e.o.Log("event", what+"  not sent: "+e.o.Provider+" does not tell of it")
	} else if err != nil && e.ctx.Err() == nil {
		e.o.Log("event", what+"  not sent: "+err.Error())
	}
}

// outcome says what came of a request.
func outcome(t events.Try) string {
	said := fmt.Sprintf("answered %d", t.Code)
	if t.Err != nil {
		said = "no answer: " + t.Err.Error()
	}
	switch {
	case t.Taken:
		return said
	case t.Next == 0:
		return said + ", given up"
	}
	return fmt.Sprintf("%s, again in %v", said, t.Next.Round(time.Millisecond))
}

// Announce writes what the relay must be told to believe the events.
func (e *Events) Announce(w io.Writer) {
	if e == nil {
		return
	}
	fmt.Fprintf(w, "events as %s to %s; the relay accepts them with these settings, "+
		"for this rehearsal only:\n",
		e.o.Provider, bare(e.o.URL))
	if e.settings.SignsURL {
		u, _ := url.Parse(e.o.URL)
		fmt.Fprintf(w, "\n  [feedback]\n  public_url = \"%s://%s\"\n", u.Scheme, u.Host)
	}
	fmt.Fprintf(w, "\n  %s\n", strings.ReplaceAll(strings.TrimSpace(e.Webhook()), "\n", "\n  "))
	fmt.Fprintln(w)
}

// Webhook is the webhook that believes the events, as it is configured.
func (e *Events) Webhook() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[feedback.webhook]]\nprovider = %q\n", e.o.Provider)
	if u, err := url.Parse(e.o.URL); err == nil && u.Path != "/"+e.o.Provider && u.Path != "" {
		fmt.Fprintf(&b, "path = %q\n", u.Path)
	}
	for _, line := range []struct{ key, value string }{
		{"signing_key", e.settings.SigningKey}, {"credential", e.settings.Credential},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "%s = [%q]\n", line.key, line.value)
		}
	}
	if e.settings.Topic != "" {
		fmt.Fprintf(&b, "topics = [%q]\npractice_cert_file = %q\n", e.settings.Topic, e.o.Certificate)
	}
	if e.o.Provider == "scaleway" {
		fmt.Fprintf(&b, "roots_file = %q\n", e.o.Certificate)
	}
	return b.String()
}

// bare is a URL without what may be secret in it.
func bare(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.Path
}
