package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/mail"
	"mailwhy/relay/feedback/recall"
	"mailwhy/relay/internal/address"
)

// operator is the relay's feedback as the admin room sees it.
type operator Relay

var _ admin.Feedback = (*operator)(nil)

// operated is the operator's way in; nil without feedback.
func (r *Relay) operated() admin.Feedback {
	if r.feedback == nil {
		return nil
	}
	return (*operator)(r)
}

// filterOf is a filter as the store has it.
func filterOf(f admin.ReportFilter) recall.Filter {
	out := recall.Filter{State: recall.State(f.State), Source: f.Source, Since: f.Since, After: f.After,
		Limit: f.Limit}
	if f.ID != 0 {
		out.After, out.Limit = f.ID-1, 1
	}
	return out
}

// Reports implements admin.Feedback.
func (o *operator) Reports(ctx context.Context, f admin.ReportFilter, each func(admin.Report) bool) error {
	return o.feedback.store.List(ctx, filterOf(f), func(r recall.Report) bool { return each(reportOf(&r)) })
}

// reportOf is a report for people.
func reportOf(r *recall.Report) admin.Report {
	out := admin.Report{
		ID: r.ID, State: string(r.State), Came: r.Came, Due: r.Due, Tries: r.Tries, Source: r.Source,
		Provider: r.Provider, Why: r.Why,
	}
	if e := r.Event; e != nil {
		out.Kind, out.Recipient, out.EventID, out.Reply = string(e.Kind), e.Recipient, e.ID, e.Reply
	}
	return out
}

// Report implements admin.Feedback.
func (o *operator) Report(ctx context.Context, id int64) (admin.Report, error) {
	r, err := o.feedback.store.Show(ctx, id)
	if errors.Is(err, recall.ErrNotFound) {
		return admin.Report{}, fmt.Errorf("%w (%w)", err, relay.ErrNotFound)
	}
	out := reportOf(&r)
	if r.Raw != nil {
		out.Header, out.Body = r.Raw.Header, r.Raw.Body
	}
	if r.Event != nil && err == nil {
		e := *r.Event
		out.Body, e.Raw = e.Raw, nil
		out.Event, err = json.Marshal(&e)
	}
	return out, err
}

// Erase implements admin.Feedback.
func (o *operator) Erase(ctx context.Context, address string, act bool) (admin.Erased, error) {
	e, err := o.feedback.store.Erase(ctx, address, act)
	return admin.Erased(e), err
}

// Replay implements admin.Feedback.
func (o *operator) Replay(ctx context.Context, f admin.ReportFilter) (int64, error) {
	return o.feedback.store.Replay(ctx, filterOf(f))
}

// Take implements admin.Feedback. The operator vouches for what is handed in.
func (o *operator) Take(ctx context.Context, name string, body []byte) error {
	r := (*Relay)(o)
	provider := r.providerOf(name)
	if provider == "" {
		var names []string
		for _, w := range r.cfg.Load().Feedback.Webhook {
			names = append(names, w.Name)
		}
		return admin.Mistake(http.StatusNotFound, fmt.Errorf("there is no webhook %q; there are: %s", name,
			strings.Join(names, ", ")))
	}
	return o.feedback.store.Append(ctx,
		&feedback.Raw{Source: name, Provider: provider, Time: time.Now(), Body: body})
}

// Mail implements admin.Feedback.
func (o *operator) Mail(ctx context.Context, content []byte) (bool, error) {
	if !o.cfg.Load().Feedback.Pipe {
		return false, admin.Mistake(http.StatusConflict,
			errors.New("feedback.pipe is not enabled in the relay's configuration"))
	}
	verdict, err := (*Relay)(o).intake(pipeSource).Take(ctx, &mail.Mail{Content: content})
	return verdict != mail.VerdictPerson, err
}

// Remembered implements admin.Feedback.
func (o *operator) Remembered(ctx context.Context, id string) ([]admin.Remembered, error) {
	return Remembered(ctx, o.feedback.store.Reader, id)
}

// Remembered are what a store of feedback knows of the messages that a queue id names.
func Remembered(ctx context.Context, store *recall.Reader, id string) (list []admin.Remembered, err error) {
	found, err := store.Remembered(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		s := admin.Remembered{Message: f.Message}
		for _, state := range f.States {
			s.States = append(s.States, string(state))
		}
		for _, t := range f.Told {
			s.Told = append(s.Told, admin.Told(t))
		}
		list = append(list, s)
	}
	return list, nil
}

// Fault implements admin.Feedback.
func (o *operator) Fault() error { return o.feedback.store.Fault() }

// Backlog implements admin.Feedback.
func (o *operator) Backlog(ctx context.Context) (admin.Backlog, error) {
	b, err := o.feedback.store.Backlog(ctx, time.Now())
	return admin.Backlog{
		Due: b.Due, Oldest: b.Oldest, Later: b.Later, Kept: o.feedback.store.Stat().Kept,
	}, err
}

// Send implements admin.Feedback. The message goes the way that all mail of its sender goes.
func (o *operator) Send(ctx context.Context, name, from, to string) (string, error) {
	r := (*Relay)(o)
	cfg := r.cfg.Load()
	i := slices.IndexFunc(cfg.Feedback.Webhook, func(w config.Webhook) bool { return w.Name == name })
	if i < 0 {
		return "", admin.Mistake(http.StatusNotFound, fmt.Errorf("there is no webhook %q", name))
	}
	sender, err := address.Parse(from, true)
	if err != nil {
		return "", admin.Mistake(http.StatusBadRequest, fmt.Errorf("sender %s: %w", from, err))
	}
	recipient, err := address.Parse(to, true)
	if err != nil {
		return "", admin.Mistake(http.StatusBadRequest, fmt.Errorf("recipient %s: %w", to, err))
	}
	m := &relay.Message{
		ID: relay.NewID(time.Now()), Arrived: time.Now(), Envelope: relay.Envelope{From: sender},
		Recipients: []relay.Recipient{{Address: recipient}}, Client: relay.Client{Name: "feedback test"},
		Subject: "Test of mailwhy feedback", HeaderFrom: sender[strings.LastIndexByte(sender, '@')+1:],
	}
	route := r.ways.Route(m, 0)
	lanes := cfg.Feedback.Webhook[i].Upstreams
	if len(lanes) > 0 && len(route.Upstreams) > 0 && !slices.Contains(lanes, route.Upstreams[0]) {
		return "", admin.Mistake(http.StatusConflict, fmt.Errorf("mail from %s goes to upstream %q, of "+
			"which webhook %q does not tell", from, route.Upstreams[0], name))
	}
	m.MessageID = "<" + strings.ToLower(m.ID) + "@" + cfg.Hostname + ">"
	return m.ID, r.inbox().Accept(ctx, m, strings.NewReader(testContent(cfg.Hostname, m)))
}

// testContent is a message that says what it is. Its Received field names it to a provider that returns the
// header.
func testContent(hostname string, m *relay.Message) string {
	date := m.Arrived.Format(time.RFC1123Z)
	return fmt.Sprintf("Received: by %s (mailwhy) with ESMTP id %s; %s\r\nFrom: <%s>\r\nTo: <%s>\r\n"+
		"Subject: %s\r\nDate: %s\r\nMessage-ID: %s\r\nAuto-Submitted: auto-generated\r\n\r\n"+
		"This message was sent by mailwhy feedback test, to see whether its bounce is heard of.\r\n",
		hostname, m.ID, date, m.Envelope.From, m.Recipients[0].Address, m.Subject, date, m.MessageID)
}
