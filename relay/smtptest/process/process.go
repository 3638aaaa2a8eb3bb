// Package process starts a built relay as a process of its own, for scripts that kill it, measure it or
// attack it, and for which a relay inside the script's own process would not do.
//
// scripts/faults, scripts/abuse and scripts/bench use it. A Spec says how a program is started, and can be
// used again and again; a Process is one run of it.
//
// What always holds: what a program prints goes to its log file; a Process dies with the program that started
// it, by kill -9 (PR_SET_PDEATHSIG); Stop and Kill return when it is dead.
package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Spec says how a program is started.
type Spec struct {
	Args   []string // command line
	Under  []string // command line before it: of a tracer, say
	Traced bool     // Under stays the parent of the program: a SIGTERM goes to the program
	Dir    string   // working directory; this process's own when empty
	Env    []string // added to this process's own
	Log    string   // takes what is printed, behind what is there already
	Group  bool     // a process group of its own, all of which Kill kills

	As *syscall.Credential // the account; this process's own when nil
}

// Process is one run.
type Process struct {
	Log   string
	cmd   *exec.Cmd
	spec  Spec
	ended chan struct{}
	err   error // of the end
}

// ErrStillRunning is a process that did not end in time, and was killed.
var ErrStillRunning = errors.New("still running after SIGTERM")

// Launch starts the program.
func (s Spec) Launch() (*Process, error) {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := append(append([]string(nil), s.Under...), s.Args...)
	p := &Process{Log: s.Log, cmd: exec.Command(args[0], args[1:]...), spec: s, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.Dir, log, log
	p.cmd.Env = append(os.Environ(), s.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: s.Group, Credential: s.As}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Start starts the program and waits until ready says yes. An error says what the program printed last; it is
// dead then.
func (s Spec) Start(ctx context.Context, within time.Duration, ready func() bool) (*Process, error) {
	p, err := s.Launch()
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(within)
	for ; time.Now().Before(end) && ctx.Err() == nil; time.Sleep(3 * time.Millisecond) {
		if !p.Alive() {
			return nil, fmt.Errorf("%s ended at its start: %v: %s", s.Args[0], p.err, p.Tail())
		}
		if ready() {
			return p, nil
		}
	}
	p.Kill()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%s was not ready within %v: %s", s.Args[0], within, p.Tail())
}

// Greets reports whether an SMTP server at addr says 220.
func Greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	c.Write([]byte("QUIT\r\n"))
	return err == nil && strings.HasPrefix(line, "220")
}

// Listens reports whether a connection to addr can be made.
func Listens(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// Answers reports whether a GET of the URL is answered with the status.
func Answers(url string, status int) bool {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return false
	}
	r.Body.Close()
	client.CloseIdleConnections()
	return r.StatusCode == status
}

// PID is the id of the process: of the tracer where there is one that stays.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err is how the process ended. It may be called once Ended is closed.
func (p *Process) Err() error { return p.err }

// Alive reports whether the process runs.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Signal sends a signal.
func (p *Process) Signal(sig syscall.Signal) { p.cmd.Process.Signal(sig) }

// Kill is kill -9.
func (p *Process) Kill() {
	if p.spec.Group {
		syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	p.cmd.Process.Kill()
	<-p.ended
}

// Stop is SIGTERM. It returns how long the end took, and what was wrong about it: an ErrStillRunning, or
// another exit status than 0.
func (p *Process) Stop(grace time.Duration) (time.Duration, error) {
	begin := time.Now()
	p.terminate()
	select {
	case <-p.ended:
	case <-time.After(grace):
		p.Kill()
		return time.Since(begin), fmt.Errorf("%w (%v)", ErrStillRunning, grace)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return time.Since(begin), fmt.Errorf("ended with %w after SIGTERM: %s", exit, p.Tail())
	}
	return time.Since(begin), p.err
}

// terminate sends SIGTERM to the program. A tracer that stays ends with it, and then says what it counted.
func (p *Process) terminate() {
	if all := Tree(p.PID()); p.spec.Traced && len(all) > 1 {
		syscall.Kill(all[1].PID, syscall.SIGTERM)
		return
	}
	p.Signal(syscall.SIGTERM)
}

// Freeze is SIGSTOP. It returns once no thread runs any more, in the kernel either.
func (p *Process) Freeze() error {
	p.Signal(syscall.SIGSTOP)
	for range 2000 {
		if p.frozen() || !p.Alive() {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the process does not stop at SIGSTOP")
}

// frozen reports whether all threads are stopped.
func (p *Process) frozen() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	for _, name := range stats {
		b, _ := os.ReadFile(name)
		if i := bytes.LastIndexByte(b, ')'); i < 0 || i+2 >= len(b) || b[i+2] != 'T' {
			return false
		}
	}
	return len(stats) > 0
}

// Thaw is SIGCONT.
func (p *Process) Thaw() { p.Signal(syscall.SIGCONT) }

// Tail is the end of what was printed.
func (p *Process) Tail() string { return Tail(p.Log) }

// Tail is the end of a file.
func Tail(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-600):]))
}

// Build builds the relay's command. It is run in this module.
func Build(ctx context.Context, binary string, flags ...string) error {
	args := append(append([]string{"build"}, flags...), "-o", binary, "mailwhy/cmd/mailwhy")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building mailwhy: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Run runs a program to its end. The error says what it printed last.
func Run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if b, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		return fmt.Errorf("%s: %w: %s", name, err, lines[len(lines)-1])
	}
	return nil
}
