// Package httpapi is what next hops have in common that are an HTTP API of a provider and not an SMTP server.
//
// A lane calls Upstream.Relay as it calls the SMTP client's. An Upstream makes a Mail of each transaction, or
// several where it has many recipients, has its Provider make the request of it, sends that, and has the
// Provider say what the answer means. The sub-rooms beside this one are the providers: sesapi and graph.
//
// What always holds:
//
//   - Nothing is made to look like an SMTP reply. An attempt has the Verdict that the answer means, and the
//     provider's words in NetErr, of the kind NetAPI. A Provider knows what the documented error codes mean;
//     one that it does not know defers the message.
//   - A request that was not written to its end costs nothing. One that was, and got no answer, is Uncertain,
//     as in SMTP after the final dot. So is the answer of a gateway that lost the server behind it.
//   - A content that cannot be read to its end is never completed: the length stands in the request.
//   - What concerns our credentials or account is a Fault, and the lane pauses; no recipient fails for it.
//   - If a call is refused because of its recipients, it is made again for each half of them, so that one bad
//     address costs nobody else the mail.
//   - Contents are streamed. Requests follow no redirect, and every step has a time limit.
//
// RFC 9110 and 9112 (HTTP; version 1.1, since it says clearly what was written).
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/tlsconf"
)

// Options are the settings of an Upstream. Every field is required unless its comment says what zero means.
type Options struct {
	Name        string   // of the upstream in the configuration
	Endpoint    *url.URL // scheme and host of the API
	TLS         tlsconf.Client
	RcptMax     int           // recipients of one call
	Size        int64         // of the largest content, bytes
	Connections int           // that are kept
	MaxIdle     time.Duration // an unused connection is kept this long; 0: not at all
	Timeouts    Timeouts
	Grace       time.Duration // for the call in progress when the context is cancelled

	Now  func() time.Time                                                     // nil: time.Now
	Log  *slog.Logger                                                         // nil: discard
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
}

// Timeouts bound each step of a call.
type Timeouts struct {
	Connect   time.Duration // the DNS lookup and the connection, then again the TLS handshake
	Command   time.Duration // a whole call that sends no mail
	Write     time.Duration // each write
	EndOfData time.Duration // the answer to a request that was written
}

// setHooks replaces nil functions by the real ones.
func (o *Options) setHooks() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
}

// check reports every option that is missing.
func (o *Options) check() error {
	t := &o.Timeouts
	var errs []error
	for _, required := range []struct {
		name string
		set  bool
	}{
		{"Name", o.Name != ""}, {"Endpoint", o.Endpoint != nil && o.Endpoint.Host != ""},
		{"RcptMax", o.RcptMax > 0}, {"Size", o.Size > 0}, {"Connections", o.Connections > 0},
		{"Grace", o.Grace > 0}, {"Timeouts.Connect", t.Connect > 0}, {"Timeouts.Command", t.Command > 0},
		{"Timeouts.Write", t.Write > 0}, {"Timeouts.EndOfData", t.EndOfData > 0},
	} {
		if !required.set {
			errs = append(errs, fmt.Errorf("%s must be set", required.name))
		}
	}
	return errors.Join(errs...)
}

// Mail is one call's mail.
type Mail struct {
	From string                        // reverse-path, never empty
	To   []string                      // recipients of the envelope; what the header says is not considered
	Open func() (io.ReadCloser, error) // the content
}

// Provider is one provider's API. Implementations are safe for concurrent use.
type Provider interface {
	// Request makes the request that sends m. It may open the content, to measure it. The error is an
	// *Outcome if it is known that the mail cannot be sent, a *Failure of a call that had to come before, or
	// that of the content.
	Request(ctx context.Context, m *Mail) (*Request, error)
	// Read says what the answer to such a request means.
	Read(a *Answer) Outcome
	// Renew is called when the credentials of a call were refused. It reports whether others are worth a try
	// at once.
	Renew() bool
	// Probe makes a call that sends nothing and shows whether the credentials are accepted. Its error is an
	// *Outcome or a *Failure.
	Probe(ctx context.Context) error
}

// Outcome is what an answer means, or what is known without one. A pointer to one that is not of class 2 is
// an error.
type Outcome struct {
	Stage  diagnose.Stage   // to which the answer belongs, see relay.Result
	Class  int              // 2, 4 or 5, as in relay.Attempt.Class; 0 if nobody said so
	ID     string           // of a message that was taken
	Kind   diagnose.NetKind // of a refusal; "" is NetAPI
	Reason diagnose.Reason  // of a refusal; "": its words are read
	Text   string           // its words
	Fault  bool             // it concerns our account or credentials, whatever the mail
	// Uncertain says that the mail may have been taken all the same.
	Uncertain bool
	Way
}

// Error implements error.
func (o *Outcome) Error() string { return o.Text }
