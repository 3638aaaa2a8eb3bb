package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/upstream/mechanism"
	"mailwhy/relay/upstream/proxy"
	"mailwhy/relay/upstream/stamp"
)

// TLS are the TLS settings of an upstream.
type TLS = tlsconf.Client

// The TLS modes.
const (
	TLSNone          = tlsconf.None
	TLSOpportunistic = tlsconf.Opportunistic
	TLSRequired      = tlsconf.StartTLS
	TLSImplicit      = tlsconf.Implicit
)

// Options are the settings of a Pool. Every field is required unless its comment says what zero means.
type Options struct {
	Name string // of the upstream in the configuration
	Host string // name or address of the next hop
	Port int
	TLS  TLS

	Hello              string        // the name that EHLO gives; "": the connection's own address
	LocalAddrs         []netip.Addr  // to connect from, at most one of each family; none: any
	NoIPv6             bool          // connect to IPv4 addresses only
	Proxy              *proxy.Proxy  // through which the upstream is reached; nil: none
	Auth               Authenticator // nil: do not authenticate
	AllowPlaintextAuth bool          // send credentials without TLS
	NoPipelining       bool          // one command at a time, for proxies that break PIPELINING

	MaxMessages int           // transactions per connection; 0: no limit
	MaxIdle     time.Duration // an unused connection is kept this long; 0: not at all
	MaxAge      time.Duration // of a connection
	RcptMax     int           // recipients per transaction
	Timeouts    Timeouts
	Grace       time.Duration // for the transaction in progress when the context is cancelled

	// Stamp says what is added to a transaction for those of its message's recipients whose indexes are to;
	// nil: nothing. It is called for each transaction, from the calling goroutines of Relay.
	Stamp func(t *relay.Transaction, to []int) stamp.Stamp

	Now    func() time.Time                                                     // nil: time.Now
	Log    *slog.Logger                                                         // nil: discard
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)         // nil: the system's resolver
	Dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
}

// Timeouts bound each step of an exchange. All are required.
type Timeouts struct {
	Connect   time.Duration // the DNS lookup, each address, the TLS handshake
	Greeting  time.Duration
	Command   time.Duration // the reply to each command but DATA
	Data      time.Duration // the reply to DATA
	Write     time.Duration // each write
	EndOfData time.Duration // the reply to the final dot
}

// setHooks replaces nil functions by the real ones.
func (o *Options) setHooks() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Dial == nil {
		o.Dial = dialer(o.LocalAddrs)
	}
}

// check reports every option that is missing or not valid.
func (o *Options) check() error {
	errs := o.missing()
	if o.Port < 1 || o.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d is not in 1..65535", o.Port))
	}
	if strings.ContainsFunc(o.Hello, func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs = append(errs, fmt.Errorf("EHLO name %q is not a host name", o.Hello))
	}
	if (o.TLS.Mode == TLSNone || o.TLS.Mode == "") && o.Auth != nil && !o.AllowPlaintextAuth {
		errs = append(errs, errors.New("credentials would be sent without TLS"))
	}
	if c, ok := o.Auth.(*Credentials); ok && o.TLS.CertFile == "" &&
		slices.Contains(c.Mechanisms, mechanism.External) {
		errs = append(errs, errors.New("AUTH EXTERNAL needs a client certificate"))
	}
	return errors.Join(errs...)
}

// missing names the required options that are not set.
func (o *Options) missing() (errs []error) {
	t := &o.Timeouts
	for _, required := range []struct {
		name string
		set  bool
	}{
		{"Name", o.Name != ""}, {"Host", o.Host != ""},
		{"MaxAge", o.MaxAge > 0}, {"RcptMax", o.RcptMax > 0}, {"Grace", o.Grace > 0},
		{"Timeouts.Connect", t.Connect > 0}, {"Timeouts.Greeting", t.Greeting > 0},
		{"Timeouts.Command", t.Command > 0}, {"Timeouts.Data", t.Data > 0},
		{"Timeouts.Write", t.Write > 0}, {"Timeouts.EndOfData", t.EndOfData > 0},
	} {
		if !required.set {
			errs = append(errs, fmt.Errorf("%s must be set", required.name))
		}
	}
	return errs
}
