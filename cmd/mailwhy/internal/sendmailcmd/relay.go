package sendmailcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"mailwhy/config"
)

// Variable is the environment variable that names the relay. It is no setting of the configuration.
const Variable = "MAILWHY_SENDMAIL_RELAY"

const dialTimeout = 10 * time.Second

// listener is an address of a relay, and why it was chosen.
type listener struct{ network, address, why string }

func (l listener) String() string {
	if l.network == "unix" {
		return "unix:" + l.address
	}
	return l.address
}

// target is where the relay is.
type target struct {
	listeners []listener     // the first that answers is taken
	config    *config.Config // nil if there is none that can be read
	ignored   error          // why the configuration was not used
}

// findRelay chooses the relay: --relay, the environment, the listeners of the configuration, or the places
// where one listens by default. A configuration that cannot be read, because it holds passwords and belongs
// to the relay, is no mistake.
func (o *Options) findRelay(c *call) (*target, error) {
	file := cmp.Or(c.config, os.Getenv("MAILWHY_CONFIG"))
	if _, err := os.Stat(o.File); file == "" && !errors.Is(err, fs.ErrNotExist) {
		file = o.File
	}
	t := &target{}
	t.config, t.ignored = o.Load(file)
	for _, named := range []struct{ address, why string }{
		{c.relay, "--relay"}, {os.Getenv(Variable), Variable},
	} {
		if named.address != "" {
			l, err := parseListener(named.address, named.why)
			t.listeners = []listener{l}
			return t, err
		}
	}
	if t.config != nil && (file != "" || os.Getenv("MAILWHY_LISTEN") != "") {
		why := "a listener of " + cmp.Or(file, "MAILWHY_LISTEN")
		if t.listeners = ofConfig(t.config, why); len(t.listeners) == 0 {
			return nil, fmt.Errorf("%s has no listener that takes mail by SMTP without TLS: add one, or "+
				"name another relay by --relay or %s", cmp.Or(file, "MAILWHY_LISTEN"), Variable)
		}
		return t, nil
	}
	if _, err := os.Stat(o.Socket); err == nil {
		t.listeners = append(t.listeners, listener{"unix", o.Socket, "the default socket"})
	}
	plain, err := config.Load(config.Source{Local: true})
	if err != nil {
		return nil, err
	}
	t.listeners = append(t.listeners, ofConfig(plain, "the default listener")...)
	return t, nil
}

// parseListener reads "host:port" or "unix:/path".
func parseListener(s, why string) (listener, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok || strings.HasPrefix(s, "/") {
		return listener{"unix", path, why}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return listener{}, fmt.Errorf(`%s: %q is not an address; write "host:port" or "unix:/path"`, why, s)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return listener{"tcp", net.JoinHostPort(host, port), why}, nil
}

// ofConfig are the listeners of a configuration that take mail by SMTP in clear, unix sockets first: there
// the file system says who may send.
func ofConfig(cfg *config.Config, why string) (all []listener) {
	for _, l := range cfg.Listen {
		if l.Role != "mail" || l.Protocol != "smtp" || l.TLS == "implicit" || len(l.ProxyProtocol) > 0 {
			continue
		}
		if one, err := parseListener(l.Address, why); err == nil {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b listener) int { return -cmp.Compare(a.network, b.network) })
	return all
}

// dial connects to the first listener that answers.
func (t *target) dial(ctx context.Context) (net.Conn, listener, error) {
	var errs []error
	for _, l := range t.listeners {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, l.network, l.address)
		if err == nil {
			return conn, l, nil
		}
		if inner, ok := errors.AsType[*net.OpError](err); ok {
			err = inner.Err
		}
		errs = append(errs, fmt.Errorf("no relay takes mail at %s (%s): %w", l, l.why, err))
	}
	if t.ignored != nil {
		errs = append(errs, fmt.Errorf("the configuration was not used: %w", t.ignored))
	}
	errs = append(errs, fmt.Errorf("start the relay, or name its listener by --relay or %s", Variable))
	return nil, listener{}, errors.Join(errs...)
}

// domain completes addresses without one; "" leaves them to the relay, which knows
// content.default_domain or says what to do.
func (t *target) domain() string {
	if t.config == nil {
		return dotted(hostname())
	}
	return cmp.Or(t.config.Content.DefaultDomain, dotted(t.config.Hostname))
}

// hello is the name in EHLO and in a Message-ID.
func (t *target) hello() string {
	if t.config == nil {
		return hostname()
	}
	return t.config.Hostname
}

// dotted is a name that has a dot, or "".
func dotted(name string) string {
	if strings.Contains(strings.Trim(name, "."), ".") {
		return name
	}
	return ""
}

// hostname is the name of this machine.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}
