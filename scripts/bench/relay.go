package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"mailwhy/relay/smtptest"
)

// errUnavailable is a relay that cannot run on this machine.
var errUnavailable = errors.New("not available")

// relay is a product that can be started as a smarthost relay.
type relay interface {
	name() string
	// start runs the relay in an empty directory, with everything going to upstream, under the given command if there is
	// one. It returns when the relay takes mail.
	start(ctx context.Context, dir, upstream string, under []string) (*running, error)
}

// running is a relay that was started.
type running struct {
	addr   string    // where it takes mail in
	cmd    *exec.Cmd // nil when there is no process of its own
	traced bool      // cmd is a tracer, and the relay its child
}

// stop ends the relay as an operator would, and by force when that takes too long.
func (r *running) stop() error {
	if r.cmd == nil {
		return nil
	}
	pid := r.cmd.Process.Pid
	if all := tree(pid); r.traced && len(all) > 1 {
		pid = all[1].pid // the tracer ends with it, and then says what it counted
	}
	syscall.Kill(pid, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- r.cmd.Wait() }()
	select {
	case <-done:
		return nil
	case <-time.After(30 * time.Second):
		syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		<-done
		return errors.New("the relay did not end within 30 seconds")
	}
}

// launch starts a command in a process group of its own and waits until addr answers. What it prints goes to a file
// in dir.
func launch(ctx context.Context, dir, addr string, under []string, env []string, args ...string) (*running, error) {
	args = append(append([]string{}, under...), args...)
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &running{addr: addr, cmd: cmd, traced: len(under) > 0}
	if err := answers(ctx, addr); err != nil {
		r.stop()
		said, _ := os.ReadFile(out.Name())
		return nil, fmt.Errorf("%s does not answer: %w\n%s", args[0], err, said)
	}
	return r, nil
}

// answers waits for a greeting.
func answers(ctx context.Context, addr string) error {
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		var conn net.Conn
		if conn, err = net.Dial("tcp", addr); err != nil {
			continue
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 4)
		_, err = conn.Read(b)
		conn.Write([]byte("QUIT\r\n"))
		conn.Close()
		if err == nil && string(b[:3]) == "220" {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

// direct is no relay at all: the ceiling.
type direct struct{}

func (direct) name() string { return "direct" }

func (direct) start(_ context.Context, _, upstream string, _ []string) (*running, error) {
	return &running{addr: upstream}, nil
}

// mailwhy is our own binary.
type mailwhy struct{ binary, label string }

func (m mailwhy) name() string { return m.label }

// buildMailwhy builds the binary, or takes the one at path.
func buildMailwhy(ctx context.Context, dir, path string) (relay, error) {
	if path != "" {
		abs, err := filepath.Abs(path)
		return mailwhy{abs, "mailwhy=" + filepath.Base(path)}, err
	}
	binary := filepath.Join(dir, "mailwhy-binary")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "mailwhy/cmd/mailwhy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building mailwhy: %w\n%s", err, out)
	}
	return mailwhy{binary, "mailwhy"}, nil
}

func (m mailwhy) start(ctx context.Context, dir, upstream string, under []string) (*running, error) {
	addr, err := smtptest.FreeAddr()
	if err != nil {
		return nil, err
	}
	return launch(ctx, dir, addr, under, nil, m.binary, "serve", "--listen", addr, "--upstream", "smtp://"+upstream+"?tls=none",
		"--spool", filepath.Join(dir, "spool"), "--delivery-log", filepath.Join(dir, "delivery.log"))
}

// port is the port of an address.
func port(addr string) int {
	_, p, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(p)
	return n
}
