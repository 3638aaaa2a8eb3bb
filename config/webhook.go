package config

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
)

// EventWebhook is an application's webhook, to which events are sent.
type EventWebhook struct {
	Name       string         `toml:"name"` // for logs, metrics and the commands
	URL        string         `toml:"url"`
	Secret     []value.Secret `toml:"secret"`      // whsec_ and base64; of several each signs
	SecretFile string         `toml:"secret_file"` // one a line
	Events     []string       `toml:"events"`      // names of the delivery log, or "all"
	Categories []string       `toml:"categories"`  // only with such a diagnosis; empty: any
	Clients    []string       `toml:"clients"`     // only about mail of such a client or user; empty: any
	// Batch is how many events a request has at most. Above 1 each request is a batch.
	Batch        int           `toml:"batch" min:"1" max:"1000"`
	Concurrency  int           `toml:"concurrency" min:"1" max:"100"`
	Timeout      time.Duration `toml:"timeout" min:"1s" max:"5m"`
	DisableAfter time.Duration `toml:"disable_after" min:"1h" max:"30d"` // of nothing but failures
	// PrivateAddresses says whether the URL may lead to an address that is not public. Those at which clouds
	// tell their secrets, and link-local ones, are never connected to.
	PrivateAddresses string `toml:"private_addresses" oneof:"allowed refused"`
	CAFile           string `toml:"ca_file" read:"file"`
}

// WebhookStore is where events are kept for the webhooks.
type WebhookStore struct {
	Keep    time.Duration `toml:"keep" min:"1h" max:"365d"`
	MaxSize value.Size    `toml:"max_size" min:"1MiB" max:"1000GB"`
}

// defaultWebhookStore outlasts a long weekend, with some 200,000 events.
func defaultWebhookStore() WebhookStore {
	return WebhookStore{Keep: 7 * 24 * time.Hour, MaxSize: 256 * value.MiB}
}

// allEvents stands for all events.
const allEvents = "all"

// defaultEvents are those that somebody has to act on.
func defaultEvents() []string {
	return []string{"failed", "expired", "suppressed", "held", "quarantined", "bounced", "complained"}
}

// completeWebhooks fills in the defaults of the webhooks, and reads their secrets.
func (c *Config) completeWebhooks(report reportFunc) {
	for i := range c.Webhook {
		w := &c.Webhook[i]
		if len(w.Events) == 0 {
			w.Events = defaultEvents()
		}
		if slices.Contains(w.Events, allEvents) {
			w.Events = nil
			for _, kind := range relay.EventKinds() {
				w.Events = append(w.Events, string(kind))
			}
		}
		setDefault(&w.PrivateAddresses, "allowed")
		w.Batch, w.Concurrency = cmp.Or(w.Batch, 1), cmp.Or(w.Concurrency, 4)
		w.Timeout = cmp.Or(w.Timeout, 20*time.Second)
		w.DisableAfter = cmp.Or(w.DisableAfter, 72*time.Hour)
		c.readSecrets(fmt.Sprintf("webhook[%d].secret", i), &w.Secret, w.SecretFile, report)
	}
}

// validateWebhooks checks the webhooks.
func (c *Config) validateWebhooks(report reportFunc) {
	names := map[string]bool{}
	for i := range c.Webhook {
		w, at := &c.Webhook[i], fmt.Sprintf("webhook[%d]", i)
		switch {
		case !regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`).MatchString(w.Name):
			report(at+".name", fmt.Sprintf("%q is not a name of a webhook", w.Name),
				"use a letter, then letters, digits, - and _")
		case names[w.Name]:
			report(at+".name", fmt.Sprintf("%q is listed twice", w.Name),
				"give each webhook a name of its own")
		}
		names[w.Name] = true
		c.validateWebhookURL(at, w, report)
		w.validateSecrets(at, report)
		w.validateFilters(at, report)
		c.checkClients(at+".clients", w.Clients, report)
	}
}

// validateWebhookURL checks where a webhook is. No mistake repeats the URL, which may hold a secret.
func (c *Config) validateWebhookURL(at string, w *EventWebhook, report reportFunc) {
	const hint = `write "https://app.example.com/hooks/mail"`
	u, err := url.Parse(w.URL)
	switch {
	case w.URL == "":
		report(at+".url", "is not set", hint)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		report(at+".url", "is not the URL of a web server", hint)
	case u.User != nil:
		report(at+".url", "has a user or password in it", "leave it out: the signature proves who sends")
	case u.Fragment != "":
		report(at+".url", "has something after #", "leave it out")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.Warnings = append(c.Warnings, at+".url begins with http://: whoever is on the way can read the "+
			"events; use https:// unless all of the way is yours")
	}
}

// validateSecrets checks what signs (Standard Webhooks 1.0.0).
func (w *EventWebhook) validateSecrets(at string, report reportFunc) {
	const hint = `write "whsec_" and 24 to 64 bytes in base64: echo "whsec_$(openssl rand -base64 32)"`
	if len(w.Secret) == 0 && w.SecretFile == "" {
		report(at+".secret", "is not set: without a signature anybody could send the events", hint)
	}
	for i, s := range w.Secret {
		text, ok := strings.CutPrefix(s.Reveal(), "whsec_")
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 {
			report(fmt.Sprintf("%s.secret[%d]", at, i), "is not a secret of Standard Webhooks", hint)
		}
	}
}

// validateFilters checks which events a webhook gets.
func (w *EventWebhook) validateFilters(at string, report reportFunc) {
	for i, e := range w.Events {
		if !slices.Contains(relay.EventKinds(), relay.EventKind(e)) {
			report(fmt.Sprintf("%s.events[%d]", at, i),
				fmt.Sprintf("%q is not an event of the delivery log", e),
				`write "all", or some of `+joined(relay.EventKinds()))
		}
	}
	for i, name := range w.Categories {
		if !slices.Contains(categories(), diagnose.Category(name)) {
			report(fmt.Sprintf("%s.categories[%d]", at, i), fmt.Sprintf("%q is not a category", name),
				"write some of "+joined(categories()))
		}
	}
}

// joined lists words.
func joined[S ~string](words []S) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return strings.Join(list, ", ")
}

// categories are those that a diagnosis may have.
func categories() []diagnose.Category {
	return []diagnose.Category{diagnose.Blocked, diagnose.DMARCErrors, diagnose.InvalidAddress,
		diagnose.MailboxIssues, diagnose.MailboxFull, diagnose.RateLimitIssues, diagnose.RecipientError,
		diagnose.RejectionErrors, diagnose.SenderReputation, diagnose.ConnectionFailure}
}

// checkClients checks a list of names of clients. Where there are users, the names may be theirs.
func (c *Config) checkClients(key string, names []string, report reportFunc) {
	if c.Access.hasUsers() {
		return
	}
	for i, name := range names {
		if !slices.ContainsFunc(c.Client, func(cl Client) bool { return cl.Name == name }) {
			var known []string
			for _, cl := range c.Client {
				known = append(known, cl.Name)
			}
			report(fmt.Sprintf("%s[%d]", key, i), fmt.Sprintf("there is no client %q", name),
				"use some of "+joined(known))
		}
	}
}
