// Package webhook takes in what providers tell about mail after they took it, by an HTTP request of theirs.
// One file a provider says how its requests are proved and how they are read; handler.go is the door,
// proof.go has the proofs that several share, read.go what reading has in common, and sns/ the two providers
// that come through a topic.
//
// What happens to a request:
//
//  1. It is a POST of at most Handler.MaxBody bytes. HEAD is answered 200, for the providers that try a URL
//     when it is entered.
//  2. Prove checks its origin. Nothing of the body is parsed before, but for what the proof needs: the
//     signature of Mailgun and of SNS stands in the body.
//  3. Where it only sets up the webhook (SNS asks whether the subscription is wanted, Event Grid for its
//     code back), it is answered, and nothing is kept.
//  4. All else is appended to the journal, as it came, and only then answered 200.
//
// Reading it is for whoever works through the journal, with Hook.Read. A report that cannot be read is kept
// and answered 200 all the same: the provider has nothing better to send.
//
// A client that sends many requests without proof has to wait, see package limit.
//
// What always holds: 200 is said of nothing that is not in the journal. No answer makes a provider discard
// what it could send again: refused and failed requests get the provider's own code for later, see
// definition. All answers come within Handler.Timeout, and say nothing of why. No URL out of a body is
// fetched but those that package sns allows. Secrets are compared in constant time and stand in no error.
// A proof does not tell a first request from a repeated one: that is for whoever acts on the events, by
// Provider and ID (package feedback).
package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook/sns"
)

// Source is a configured webhook. What a provider does not use stays empty.
type Source struct {
	Name     string // for the log and for feedback.Raw
	Provider string // one of Providers

	// Keys are those that the provider signs with, any of which is accepted: two while one replaces the
	// other. SendGrid's is its public key as the settings page shows it, Resend's begins with "whsec_".
	Keys []string

	// Credentials are what the provider was told to send along, any of which is accepted: "user:password" for
	// basic auth, "Name: value" for a header field, "?name=value" for a parameter of the URL. Providers that
	// sign nothing need one; for the others one is required in addition where it is given.
	Credentials []string

	Topics []string       // of SNS, by ARN: the only ones that are listened to
	URL    string         // as entered at the provider, its user and password included; Mandrill signs it
	Roots  *x509.CertPool // that SNS's signing certificates go back to: required for Scaleway
}

// Fetcher gets what the proof of SNS messages needs, sns.Fetcher in a relay that runs. It must be safe for
// concurrent use and return when ctx is done.
type Fetcher interface {
	// Certificates gets the certificates of a file, the signer's own first. The error wraps
	// sns.ErrUnreachable where asking again later may help.
	Certificates(ctx context.Context, url string) ([]*x509.Certificate, error)
	// Confirm calls a URL that confirms a subscription.
	Confirm(ctx context.Context, url string) error
}

// Request is what of an HTTP request a proof can rest on.
type Request struct {
	Header http.Header
	Query  url.Values
	Body   []byte
}

// ErrUnproven reports that a request is not the provider's own, or not by what is configured. It wraps the
// reason, which is for the log.
var ErrUnproven = errors.New("the origin is not proved")

// ErrUndecided reports that it is not known yet whether a request is the provider's own.
var ErrUndecided = feedback.ErrUndecided

// provider is one provider's way of proving and telling. All methods but prove are pure.
type provider interface {
	// prove reports why a request is not the provider's: nil if it is. It is pure but for the certificates of
	// SNS.
	prove(ctx context.Context, r *Request, now time.Time) error
	// read returns the events of a report: none for a kind that does not concern delivery. What cannot be
	// read of a batch is reported in the error beside the events that can.
	read(raw *feedback.Raw) ([]feedback.Event, error)
}

// greeter is a provider that sets up its webhook by a request of its own.
type greeter interface {
	// greets reports whether a request only sets up the webhook.
	greets(r *Request) bool
	// greet answers such a request, which has been proved.
	greet(ctx context.Context, r *Request) (answer []byte, err error)
}

// definition is what is particular to a provider.
type definition struct {
	name string
	open func(Source, Fetcher) (provider, error)

	keyed    bool // it signs, with one of Source.Keys
	unsigned bool // it signs nothing: only a credential proves a request

	// refused is the answer to a request without proof. It may still be the provider's own, with a key that
	// was changed on one side only, so it is never a code on which the provider gives up.
	refused int
	// later is the answer to a request that cannot be taken now: a code on which the provider tries again.
	later int

	header []string // fields that are journalled with the body, since reading it needs them
}

// limited is the answer to a client that sent too many requests without proof: 429, on which all providers
// that try again on 401 do too.
func (d *definition) limited() int {
	if d.refused == later {
		return later
	}
	return http.StatusTooManyRequests
}

// The answers that most providers try again on.
const (
	refused = http.StatusUnauthorized
	later   = http.StatusServiceUnavailable
)

// definitions are the providers, by name. The answers, by what is documented of each:
//
//	azure       gives up on 400, 401, 403 and 413
//	brevo       gives up on all of 4xx and 5xx but 429
//	mailgun     gives up on 406; postmark on 403
//	ses         tries again on 5xx, not on 4xx; scaleway speaks the same protocol
//	all others  try again on everything but success, for a while
func definitions() []definition {
	return []definition{
		{name: "azure", open: openAzure, unsigned: true, refused: later, later: later},
		{name: "brevo", open: openBrevo, unsigned: true,
			refused: http.StatusTooManyRequests, later: http.StatusTooManyRequests},
		{name: "mailersend", open: openMailerSend, keyed: true, refused: refused, later: later},
		{name: "mailgun", open: openMailgun, keyed: true, refused: refused, later: later},
		{name: "mailjet", open: openMailjet, unsigned: true, refused: refused, later: later},
		{name: "mandrill", open: openMandrill, keyed: true, refused: refused, later: later},
		{name: "postmark", open: openPostmark, unsigned: true, refused: refused, later: later},
		{name: "resend", open: openResend, keyed: true, refused: refused, later: later,
			header: []string{"Svix-Id", "Webhook-Id"}},
		{name: "scaleway", open: openScaleway, refused: later, later: later},
		{name: "sendgrid", open: openSendGrid, keyed: true, refused: refused, later: later},
		{name: "ses", open: openSES, refused: later, later: later},
		{name: "smtp2go", open: openSMTP2GO, unsigned: true, refused: refused, later: later,
			header: []string{"Content-Type"}},
		{name: "sparkpost", open: openSparkPost, unsigned: true, refused: refused, later: later},
	}
}

// Providers are the names of the providers, in order.
func Providers() []string {
	var names []string
	for _, d := range definitions() {
		names = append(names, d.name)
	}
	return names
}

// Hook is a configured webhook, ready to prove and read requests. It is safe for concurrent use.
type Hook struct {
	source      Source
	kind        definition
	provider    provider
	credentials []credential
}

// New makes a hook. It refuses a source that could prove nothing. The fetcher is used by ses and scaleway
// only.
func New(s Source, f Fetcher) (*Hook, error) {
	all := definitions()
	i := slices.IndexFunc(all, func(d definition) bool { return d.name == s.Provider })
	if i < 0 {
		return nil, fmt.Errorf("provider %q is not known; known are %s", s.Provider,
			strings.Join(Providers(), ", "))
	}
	h := &Hook{source: s, kind: all[i]}
	for _, c := range s.Credentials {
		parsed, err := parseCredential(c)
		if err != nil {
			return nil, err
		}
		h.credentials = append(h.credentials, parsed)
	}
	switch {
	case h.kind.unsigned && len(h.credentials) == 0:
		return nil, fmt.Errorf("%s signs nothing: it needs a credential that it sends along", s.Provider)
	case h.kind.keyed && len(s.Keys) == 0:
		return nil, fmt.Errorf("%s needs the key that it signs with", s.Provider)
	case slices.Contains(s.Keys, ""):
		return nil, fmt.Errorf("a key of %s is empty", s.Provider)
	}
	var err error
	h.provider, err = h.kind.open(s, f)
	return h, err
}

// Prove reports whether a request is the provider's own: nil, or an error that wraps ErrUnproven or
// ErrUndecided. It is pure but for the certificates of SNS.
func (h *Hook) Prove(ctx context.Context, r *Request, now time.Time) error {
	if len(h.credentials) > 0 && !presents(r, h.credentials) {
		return fmt.Errorf("%w: it presents no credential that is configured", ErrUnproven)
	}
	switch err := h.provider.prove(ctx, r, now); {
	case err == nil:
		return nil
	case errors.Is(err, sns.ErrUnreachable):
		return fmt.Errorf("%w: %w", ErrUndecided, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
}

// ProveRaw proves a journalled report that is marked Unproven. Its credentials have been checked before.
func (h *Hook) ProveRaw(ctx context.Context, raw *feedback.Raw, now time.Time) error {
	without := *h
	without.credentials = nil
	return without.Prove(ctx, &Request{Body: raw.Body}, now)
}

// Read returns the events of a journalled report. Where a part of it cannot be read, the error says so and
// the events are those of the rest.
func (h *Hook) Read(raw *feedback.Raw) ([]feedback.Event, error) {
	events, err := h.provider.read(raw)
	for i := range events {
		events[i].Source, events[i].Provider = feedback.SourceWebhook, h.kind.name
		complete(&events[i])
	}
	return events, err
}

// raw is what is journalled of a request.
func (h *Hook) raw(r *Request, now time.Time) *feedback.Raw {
	raw := &feedback.Raw{Source: h.source.Name, Provider: h.kind.name, Time: now, Body: r.Body}
	for _, name := range h.kind.header {
		if value := r.Header.Get(name); value != "" {
			if raw.Header == nil {
				raw.Header = map[string]string{}
			}
			raw.Header[name] = value
		}
	}
	return raw
}

// SetUp says what to enter at a provider, for `mailwhy check`. The names are the provider's own.
type SetUp struct {
	Provider  string
	Place     string   // where the URL is entered
	Events    []string // to choose: those that tell of mail that did not arrive
	Delivered string   // the event of mail that did, for those who want it in the log
	Proof     string   // where to find or set what proves the requests
}

// SetUpOf is what to enter at one of Providers.
func SetUpOf(provider string) SetUp {
	all := setUps()
	return all[slices.IndexFunc(all, func(s SetUp) bool { return s.Provider == provider })]
}

// setUps are in the order of the providers' names.
func setUps() []SetUp {
	return []SetUp{
		{
			"azure", "Communication Services > Events > Event Subscription, endpoint type Web Hook",
			[]string{"Email Delivery Report Received"}, "the same",
			"delivery properties of the subscription: a header of type Static, marked as secret",
		}, {
			"brevo", "Transactional > Settings > Webhook",
			[]string{"Hard bounced", "Soft bounced", "Deferred", "Blocked", "Invalid email", "Error",
				"Complaint"},
			"Delivered", "the authentication of the webhook: a user and password, or a token as a header",
		}, {
			"mailersend", "Domains > Manage > Webhooks",
			[]string{"activity.hard_bounced", "activity.soft_bounced", "activity.spam_complaint"},
			"activity.delivered", "the signing secret that is shown with the webhook",
		}, {
			"mailgun", "Send > Sending > Webhooks, for the domain",
			[]string{"Permanent Failure", "Temporary Failure", "Spam Complaints"}, "Delivered Messages",
			"the HTTP webhook signing key of the account; it does not cover the body, so that a user and " +
				"password in the URL are worth having too",
		}, {
			"mailjet", "Account settings > Event notifications (webhooks)",
			[]string{"bounce", "blocked", "spam"}, "sent",
			"a user and password in the URL: https://user:password@...",
		}, {
			"mandrill", "Settings > Webhooks",
			[]string{"Bounced", "Soft-Bounced", "Delayed", "Marked As Spam", "Rejected"}, "Delivered",
			"the key that is shown with the webhook",
		}, {
			"postmark", "Server > message stream > Webhooks",
			[]string{"Bounce", "Spam Complaint"}, "Delivery",
			"basic auth credentials, or a custom header, of the webhook",
		}, {
			"resend", "Webhooks > Add Webhook",
			[]string{"email.bounced", "email.delivery_delayed", "email.complained", "email.failed",
				"email.suppressed"},
			"email.delivered", "the signing secret of the webhook, which begins with whsec_",
		}, {
			"scaleway", "Topics and Events: an HTTPS subscription to the topic; " +
				"Transactional Email > domain > Webhooks: the topic",
			[]string{"email_dropped", "email_mailbox_not_found", "email_deferred", "email_spam",
				"email_blocklisted"},
			"email_delivered", "the ARN of the topic, and the trust chain that Scaleway publishes for it",
		}, {
			"sendgrid", "Settings > Mail Settings > Event Webhooks",
			[]string{"Bounced", "Deferred", "Dropped", "Spam Reports"}, "Delivered",
			"Signature Verification: enable it and copy the verification key",
		}, {
			"ses", "SNS: an HTTPS subscription to the topic, raw message delivery off; " +
				"SES > Configuration sets > Event destinations: the topic",
			[]string{"Hard bounces", "Complaints", "Delivery delays", "Rejects"}, "Deliveries",
			"the ARN of the topic; set its delivery retries to an hour or more, and once bounces come this " +
				"way switch SES's feedback forwarding by mail off",
		}, {
			"smtp2go", "Settings > Webhooks, output JSON, with the header Message-ID",
			[]string{"Bounce", "Spam", "Reject"}, "Delivered",
			"the Authorization header of the webhook, or a user and password in the URL",
		}, {
			"sparkpost", "Configuration > Webhooks",
			[]string{"Bounce", "Out of Band", "Delay", "Spam Complaint", "Policy Rejection",
				"Generation Rejection"},
			"Delivery", "basic auth as the authentication of the webhook",
		},
	}
}
