// Package query answers what a command asks of a configuration without a relay: which way mail would go and
// how it would leave, what would be done about a refusal, and what the upstreams, the senders' domains and
// the return path say to a check. Nothing is stored, and no mail is sent but the test that was asked for.
package query

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/internal/address"
)

// Route is mail whose way is asked for.
type Route struct {
	From    string // envelope sender; "<>" is the null sender
	To      []string
	Client  string   // name of the client network; User when empty
	User    string   // as authenticated
	Headers []string // "Name: value"
}

// Routes are the routes of the recipients by a configuration, in the order of To. The error is a mistake in
// the query or the configuration.
func (q *Route) Routes(cfg *config.Config) ([]accept.Route, error) {
	router, err := options.Router(cfg)
	if err != nil {
		return nil, err
	}
	m, err := q.message()
	if err != nil {
		return nil, err
	}
	routes := make([]accept.Route, len(m.Recipients))
	for i := range routes {
		routes[i] = router.Route(m, i)
	}
	return routes, nil
}

// message is the mail.
func (q *Route) message() (*relay.Message, error) {
	m := &relay.Message{Client: relay.Client{Name: q.Client, User: q.User}, Headers: map[string]string{}}
	if m.Client.Name == "" {
		m.Client.Name = q.User
	}
	var err error
	if q.From != "<>" && q.From != "" {
		if m.Envelope.From, err = address.Parse(q.From, true); err != nil {
			return nil, fmt.Errorf("sender %s: %w", q.From, err)
		}
	}
	for _, to := range q.To {
		parsed, err := address.Parse(to, true)
		if err != nil {
			return nil, fmt.Errorf("recipient %s: %w", to, err)
		}
		m.Recipients = append(m.Recipients, relay.Recipient{Address: parsed})
	}
	for _, h := range q.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf(`header %q: write "Name: value"`, h)
		}
		m.Headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	return m, nil
}

// Rewrite is mail of which is asked how it would leave.
type Rewrite struct {
	Route
	Content []byte // lines end in CRLF
}

// Leaving is the mail as it would leave by a configuration: repaired, rewritten and signed. The error is a
// mistake in the query or the configuration.
func (q *Rewrite) Leaving(cfg *config.Config, log *slog.Logger) ([]outgoing.Leaving, error) {
	out, errOut := outgoing.New(cfg, log)
	router, errRouter := options.Router(cfg)
	m, errMessage := q.message()
	if err := errors.Join(errOut, errRouter, errMessage); err != nil {
		return nil, err
	}
	m.Arrived = time.Now()
	m.ID = relay.NewID(m.Arrived)
	mended, err := io.ReadAll(options.Mender(cfg, log).Mend(m, true, bytes.NewReader(q.Content)))
	if err != nil {
		return nil, err
	}
	describe(m, mended, router.Headers())
	out.Accept(m)
	for i := range m.Recipients {
		if r := router.Route(m, i); len(r.Upstreams) == 0 {
			return nil, fmt.Errorf("recipient %s: %s", m.Recipients[i].Address, r.Reason)
		}
	}
	return out.Preview(m, mended, func(i int) string { return router.Route(m, i).Upstreams[0] })
}

// describe notes in m what its header says, as far as routes and signatures depend on it.
func describe(m *relay.Message, content []byte, headers []string) {
	parsed, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return
	}
	if from, err := parsed.Header.AddressList("From"); err == nil {
		m.HeaderFrom = address.Domain(from[0].Address)
	}
	for _, name := range headers {
		if values := parsed.Header[textproto.CanonicalMIMEHeaderKey(name)]; len(values) > 0 {
			m.Headers[name] = values[0]
		}
	}
}
