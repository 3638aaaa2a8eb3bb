package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/process"
)

// errUnavailable is a relay that cannot run on this machine.
var errUnavailable = errors.New("not available")

// relay is a product that can be started as a smarthost relay.
type relay interface {
	name() string
	// start runs the relay in an empty directory, with everything going to upstream, under the given command
	// if there is one. It returns when the relay takes mail.
	start(ctx context.Context, dir, upstream string, under []string) (*running, error)
}

// running is a relay that was started.
type running struct {
	addr string           // where it takes mail in
	proc *process.Process // nil when there is no process of its own
	told *provider        // that runs beside it; nil when none does
}

// stop ends the relay as an operator would, and by force when that takes too long. How it ends is its own
// affair.
func (r *running) stop() error {
	if r.told != nil {
		r.told.end()
	}
	if r.proc == nil {
		return nil
	}
	if _, err := r.proc.Stop(30 * time.Second); errors.Is(err, process.ErrStillRunning) {
		return fmt.Errorf("the relay did not end: %w", err)
	}
	return nil
}

// launch starts a command in a process group of its own and waits until addr greets. What it prints goes to a
// file in dir.
func launch(ctx context.Context, dir, addr string, under, env []string, args ...string) (*running, error) {
	s := process.Spec{
		Args: args, Under: under, Traced: len(under) > 0, Dir: dir, Env: env,
		Log: filepath.Join(dir, "output"), Group: true,
	}
	p, err := s.Start(ctx, 20*time.Second, func() bool { return process.Greets(addr) })
	if err != nil {
		return nil, err
	}
	return &running{addr: addr, proc: p}, nil
}

// direct is the load straight into the sink, without a relay: the ceiling.
type direct struct{}

func (direct) name() string { return "direct" }

func (direct) start(_ context.Context, _, upstream string, _ []string) (*running, error) {
	return &running{addr: upstream}, nil
}

// mailwhy is our own binary.
type mailwhy struct {
	binary, label string
	variant       variant
}

func (m mailwhy) name() string { return m.label }

// buildMailwhy builds the binary, or takes the one at path. name is mailwhy, or mailwhy+VARIANT.
func buildMailwhy(ctx context.Context, dir, name, path string) (relay, error) {
	m := mailwhy{binary: filepath.Join(dir, "mailwhy-binary"), label: name}
	var err error
	if _, v, ok := strings.Cut(name, "+"); ok {
		if m.variant, err = variantByName(v); err != nil {
			return nil, err
		}
	}
	if path != "" {
		m.label += "=" + filepath.Base(path)
		m.binary, err = filepath.Abs(path)
		return m, err
	}
	return m, process.Build(ctx, m.binary, "-trimpath")
}

func (m mailwhy) start(ctx context.Context, dir, upstream string, under []string) (*running, error) {
	addr, err := smtptest.FreeAddr()
	if err != nil {
		return nil, err
	}
	s := setting{dir: dir, log: filepath.Join(dir, "delivery.log")}
	var env []string
	if m.variant.conf != nil {
		conf, err := m.variant.conf(&s)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "relay.toml")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		env = append(env, "MAILWHY_CONFIG="+file)
	}
	r, err := launch(ctx, dir, addr, under, env, m.binary, "serve", "--listen", addr,
		"--upstream", "smtp://"+upstream+"?tls=none",
		"--spool", filepath.Join(dir, "spool"), "--delivery-log", s.log)
	if err != nil || m.variant.beside == nil {
		return r, err
	}
	if r.told, err = m.variant.beside(&s); err != nil {
		r.stop()
	}
	return r, err
}

// port is the port of an address.
func port(addr string) int {
	_, p, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(p)
	return n
}
