package app

import (
	"fmt"
	"strings"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/internal/address"
)

// RouteQuery is mail whose way is asked for.
type RouteQuery struct {
	From    string // envelope sender; "<>" is the null sender
	To      []string
	Client  string   // name of the client network; User when empty
	User    string   // as authenticated
	Headers []string // "Name: value"
}

// Routes are the routes of the recipients by a configuration, in the order of To. The error is a mistake in
// the query or the configuration.
func (q *RouteQuery) Routes(cfg *config.Config) ([]accept.Route, error) {
	router, err := NewRouter(cfg)
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
func (q *RouteQuery) message() (*relay.Message, error) {
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
