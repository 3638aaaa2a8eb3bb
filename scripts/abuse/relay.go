package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"

	"mailwhy/relay/smtptest"
)

// relay is a running `mailwhy serve` with an upstream behind it.
type relay struct {
	binary, spool string
	clear, tls    string // where it listens
	trust         *tls.Config
	cmd           *exec.Cmd
	upstream      *smtptest.Server
	ledger        *ledger
}

// configuration is the relay's. Limits are the defaults, but for the number of connections, which is to fit the attack.
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

// room is how many connections an attacker may have beside its slow and stuck clients: those of the other attacks, and those that
// the relay still listens to after its last word.
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
	r = &relay{binary: filepath.Join(dir, "mailwhy"), spool: filepath.Join(dir, "spool"), ledger: newLedger()}
	for _, addr := range []*string{&r.clear, &r.tls} {
		if *addr, err = smtptest.FreeAddr(); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("go", "build", "-o", r.binary, "mailwhy/cmd/mailwhy").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building: %w\n%s", err, out)
	}
	identity, err := smtptest.Certificate("relay.test")
	if err != nil {
		return nil, err
	}
	r.trust = identity.Client()
	r.trust.ServerName = "relay.test"
	if r.upstream, err = smtptest.Start(smtptest.Options{Deliver: r.ledger.deliver, Forget: true}); err != nil {
		return nil, err
	}
	file, err := users(s.logins)
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
func (r *relay) serve(dir string) error {
	log, err := os.Create(filepath.Join(dir, "relay.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(r.binary, "serve", "-c", "relay.toml")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd = cmd
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", r.tls); err == nil { // the last that it opens
			c.Close()
			return nil
		}
	}
	said, _ := os.ReadFile(log.Name())
	return fmt.Errorf("the relay does not listen:\n%s", said)
}

// stop ends the relay and its upstream.
func (r *relay) stop() {
	if r.cmd != nil {
		r.cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { r.cmd.Process.Kill() })
		r.cmd.Wait()
		late.Stop()
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

// peakMemory is the process's largest resident set so far, in bytes.
func (r *relay) peakMemory() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	_, rest, _ := bytes.Cut(b, []byte("VmHWM:"))
	fields := strings.Fields(string(rest))
	if len(fields) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10
}
