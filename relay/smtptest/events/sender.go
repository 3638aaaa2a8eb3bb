package events

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// provider is how one provider tells.
type provider struct {
	name    string
	payload func(*Sender, *Mail, *Event) ([]byte, error)
	// sign adds what proves a request; nil where the payload has it in it, or a credential does.
	sign func(s *Sender, r *http.Request, body []byte, now time.Time) error

	keyed   bool   // it signs with a key
	topic   string // it publishes to a topic, by default this one
	content string // the media type; JSON where it is empty
	manner  manner
}

// providers are those that package webhook reads, by name.
func providers() []provider {
	return []provider{
		{name: "azure", payload: (*Sender).azure, manner: eventGrid()},
		{name: "brevo", payload: (*Sender).brevo, manner: brevoManner()},
		{name: "mailersend", payload: (*Sender).mailerSend, sign: (*Sender).signMailerSend, keyed: true,
			manner: mailerSendManner()},
		{name: "mailgun", payload: (*Sender).mailgun, keyed: true, manner: mailgunManner()},
		{name: "mailjet", payload: (*Sender).mailjet,
			manner: manner{only200: true, waits: every(30*time.Second, 24*time.Hour)}},
		{name: "mandrill", payload: (*Sender).mandrill, sign: (*Sender).signMandrill, keyed: true,
			content: form, manner: manner{waits: doubling(24 * time.Hour)}},
		{name: "postmark", payload: (*Sender).postmark, manner: postmarkManner()},
		{name: "resend", payload: (*Sender).resend, sign: (*Sender).signResend, keyed: true,
			manner: manner{waits: doubling(24 * time.Hour)}},
		{name: "scaleway", payload: (*Sender).scaleway, topic: scalewayTopic, content: plain,
			manner: snsManner()},
		{name: "sendgrid", payload: (*Sender).sendGrid, sign: (*Sender).signSendGrid, keyed: true,
			manner: manner{waits: doubling(24 * time.Hour)}},
		{name: "ses", payload: (*Sender).ses, topic: sesTopic, content: plain, manner: snsManner()},
		{name: "smtp2go", payload: (*Sender).smtp2go, manner: manner{waits: doubling(24 * time.Hour)}},
		{name: "sparkpost", payload: (*Sender).sparkPost,
			manner: manner{only200: true, timeout: 10 * time.Second, waits: doubling(8 * time.Hour)}},
	}
}

// The media types that are not JSON.
const (
	form  = "application/x-www-form-urlencoded"
	plain = "text/plain; charset=UTF-8"
)

// Providers are the names of the providers, in order.
func Providers() []string {
	var names []string
	for _, p := range providers() {
		names = append(names, p.name)
	}
	return names
}

// Options are what a Sender is made with.
type Options struct {
	Provider string
	URL      string // of the webhook
	// Key is what the provider signs with; empty: made up. Any text does: where the provider has a key pair,
	// it stands for one, and a secret that is not in the form of the provider's is put into it.
	Key string
	// Credential is what the provider was told to send along, as the configuration of a webhook has it;
	// empty: made up, for a provider that signs nothing.
	Credential string
	Topic      string // of SNS and its like, by ARN; empty: one of practice
	// Signer signs the messages of a topic. It is needed for the providers with one.
	Signer *Signer
	// Speed is how much faster than with the provider time passes between two tries; 0 is 1.
	Speed float64
	// Client sends the requests; nil is one of its own.
	Client *http.Client
}

// Sender sends the events of one provider to one webhook. It is safe for concurrent use.
type Sender struct {
	provider
	url        string
	key        string
	credential string
	topic      string
	signer     *Signer
	speed      float64
	client     *http.Client
}

// New makes a Sender.
func New(o Options) (*Sender, error) {
	s := &Sender{url: o.URL, key: o.Key, credential: o.Credential, signer: o.Signer, speed: o.Speed,
		client: o.Client}
	for _, p := range providers() {
		if p.name == o.Provider {
			s.provider = p
		}
	}
	if s.name == "" {
		return nil, fmt.Errorf("no events of %q are known; there are those of %s", o.Provider,
			strings.Join(Providers(), ", "))
	}
	if u, err := url.Parse(o.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of a webhook", o.URL)
	}
	if s.speed == 0 {
		s.speed = 1
	}
	if s.client == nil {
		s.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	}
	return s, s.arm(o)
}

// arm fills in what proves the requests.
func (s *Sender) arm(o Options) error {
	if s.provider.topic != "" {
		s.topic = o.Topic
		if s.topic == "" {
			s.topic = s.provider.topic
		}
		if s.signer == nil {
			return errors.New("a signer of the topic's messages is needed")
		}
		return nil
	}
	if !s.keyed && s.credential == "" {
		s.credential = "practice:" + rand.Text()
	}
	if s.keyed && s.key == "" {
		s.key = rand.Text()
	}
	if s.name == "resend" && !strings.HasPrefix(s.key, "whsec_") {
		s.key = "whsec_" + base64.StdEncoding.EncodeToString([]byte(s.key))
	}
	return nil
}

// Settings are what a relay must be told to believe the requests. What does not apply is empty.
type Settings struct {
	SigningKey string
	Credential string
	Topic      string
	SignsURL   bool // of the webhook
}

// Settings are those for this Sender.
func (s *Sender) Settings() (Settings, error) {
	set := Settings{Credential: s.credential, Topic: s.topic, SignsURL: s.name == "mandrill"}
	if s.keyed {
		set.SigningKey = s.key
	}
	if s.name == "sendgrid" {
		_, public, err := ecdsaKey(s.key)
		set.SigningKey = public
		return set, err
	}
	return set, nil
}
