package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/relay/smtptest/process"
)

// relay is a running `mailwhy serve` with an upstream behind it.
type relay struct {
	binary, spool string
	clear, tls    string // where it listens
	trust         *tls.Config
	proc          *process.Process
	upstream      *smtptest.Server
	ledger        *ledger.Ledger
}

// configuration is the relay's. Limits are the defaults, but for the number of connections, which is to fit
// the attack.
const configuration = `
hostname = "relay.test"
[[listen]]
address = %q
[[listen]]
address = %q
tls = "implicit"
[tls]
cert_file = "tls.crt"
key_file = "tls.key"
[access]
users_file = "users"
[smtpd]
max_connections = 4000
max_connections_per_client = %d
[spool]
dir = "spool"
[delivery_log]
file = "delivery.log"
[upstream.default]
url = %q
`

// room is how many connections an attacker may have beside its slow and stuck clients: those of the other
// attacks, and those that the relay still listens to after its last word.
const room = 400

// user is a user's line; nobody here knows the password, and one guess costs a bcrypt of the usual strength.
const user = "app:$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n"

// users are the lines of that one and of n honest ones for each crowd of guessers, of the same strength.
func users(n int) (string, error) {
	lines := user
	for _, c := range crowds {
		for i := range n {
			name := c.login(i)
			hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.DefaultCost)
			if err != nil {
				return "", err
			}
			lines += name + ":" + string(hash) + "\n"
		}
	}
	return lines, nil
}

// startRelay builds the command and starts it in dir.
func startRelay(dir string, s size) (r *relay, err error) {
	r = &relay{
		binary: filepath.Join(dir, "mailwhy"), spool: filepath.Join(dir, "spool"), ledger: ledger.New(),
	}
	for _, addr := range []*string{&r.clear, &r.tls} {
		if *addr, err = smtptest.FreeAddr(); err != nil {
			return nil, err
		}
	}
	if err := process.Build(context.Background(), r.binary); err != nil {
		return nil, err
	}
	identity, err := smtptest.Certificate("relay.test")
	if err != nil {
		return nil, err
	}
	r.trust = identity.Client()
	r.trust.ServerName = "relay.test"
	if r.upstream, err = smtptest.Start(smtptest.Options{Ledger: r.ledger, Forget: true}); err != nil {
		return nil, err
	}
	file, err := users(s.logins + 1)
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(configuration, r.clear, r.tls, s.loris+s.stuck+room, r.upstream.URL())
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "relay.toml"), []byte(conf), 0o600),
		os.WriteFile(filepath.Join(dir, "users"), []byte(file), 0o600),
		os.WriteFile(filepath.Join(dir, "tls.crt"), identity.CertPEM, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.key"), identity.KeyPEM, 0o600),
	)
	if err == nil {
		err = r.serve(dir)
	}
	if err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// serve starts the process and waits until it listens.
func (r *relay) serve(dir string) (err error) {
	s := process.Spec{
		Args: []string{r.binary, "serve", "-c", "relay.toml"}, Dir: dir, Log: filepath.Join(dir, "relay.log"),
	}
	// The port with TLS is the last that it opens.
	ready := func() bool { return process.Listens(r.tls) }
	r.proc, err = s.Start(context.Background(), 20*time.Second, ready)
	return err
}

// stop ends the relay and its upstream.
func (r *relay) stop() {
	if r.proc != nil {
		r.proc.Stop(20 * time.Second)
	}
	if r.upstream != nil {
		r.upstream.Close()
	}
}

// queue is what the relay still holds, a line for each message.
func (r *relay) queue() ([]string, error) {
	out, err := exec.Command(r.binary, "queue", "list", "--json", "--spool", r.spool).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("queue list: %w: %s", err, out)
	}
	return strings.FieldsFunc(string(out), func(c rune) bool { return c == '\n' }), nil
}
