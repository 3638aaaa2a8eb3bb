package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"mailwhy/relay/smtptest"
)

// The settings of every relay under test. The concurrency bounds the duplicates that a crash may cause.
const (
	concurrency = 5
	retry       = "1s, 2s*3, 5s"
	readyIn     = 30 * time.Second
	graceful    = 12 * time.Second // after SIGTERM; the relay's own grace is 8 seconds
)

// The bounds of I8 for a relay that does not hold a message in memory.
const (
	maxResident = 200 << 10 // KiB
	maxFiles    = 400
)

// secret is the password at the upstream, and bodyMark a word of every body: no log may hold them.
const (
	secret   = "p4ssw0rd-that-no-log-may-hold"
	bodyMark = "words-of-a-body-that-no-log-may-hold"
)

// relaySetup says how a relay is started. It stays the same from one start to the next: nothing is repaired between.
type relaySetup struct {
	binary   string
	dir      string // of its logs
	spool    string
	listen   string
	upstream string
	env      []string
	wrap     []string // command line before the relay's, see inject.go
}

// relayProcess is a running relay.
type relayProcess struct {
	setup  *relaySetup
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error
	ready  time.Duration
	worst  usage
	usages chan struct{}
}

// usage is what a process takes.
type usage struct{ resident, files atomic.Int64 }

// freePort is a port of the loopback that nobody listens on, nor will before the relay does. It is given out once: a trial whose
// relay has just been killed must not find another trial's in its place.
func (s *site) freePort() string {
	for {
		addr, err := smtptest.FreeAddr()
		must(err, "looking for a free port")
		s.mu.Lock()
		given := s.ports[addr]
		s.ports[addr] = true
		s.mu.Unlock()
		if !given {
			return addr
		}
	}
}

// args is the command line.
func (s *relaySetup) args() []string {
	return append(append([]string(nil), s.wrap...), s.binary, "serve", "--listen", s.listen,
		"--upstream", s.upstream, "--spool", s.spool, "--delivery-log", s.deliveryLog(), "--retry", retry)
}

func (s *relaySetup) deliveryLog() string { return filepath.Join(s.dir, "delivery.jsonl") }

func (s *relaySetup) log() string { return filepath.Join(s.dir, "relay.log") }

// start starts the relay and waits until it greets. An error says what it wrote last.
func (s *relaySetup) start(ctx context.Context) (*relayProcess, error) {
	return s.startWithin(ctx, readyIn)
}

func (s *relaySetup) startWithin(ctx context.Context, limit time.Duration) (*relayProcess, error) {
	begin := time.Now()
	p, err := s.launch()
	if err != nil {
		return nil, err
	}
	for time.Since(begin) < limit && ctx.Err() == nil {
		select {
		case <-p.ended:
			return nil, fmt.Errorf("the relay ended at its start: %v: %s", p.err, tail(s.log()))
		default:
		}
		if greets(s.listen) {
			p.ready = time.Since(begin)
			go p.watch()
			return p, nil
		}
		time.Sleep(3 * time.Millisecond)
	}
	p.kill()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("the relay did not greet within %v: %s", limit, tail(s.log()))
}

// launch starts the process.
func (s *relaySetup) launch() (*relayProcess, error) {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := s.args()
	p := &relayProcess{setup: s, ended: make(chan struct{}), usages: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// greets reports whether an SMTP server says 220.
func greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "220")
}

// alive reports whether the process runs.
func (p *relayProcess) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill is kill -9.
func (p *relayProcess) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// freeze is SIGSTOP. It returns once no thread runs any more, in the kernel either.
func (p *relayProcess) freeze() error {
	p.cmd.Process.Signal(syscall.SIGSTOP)
	for range 2000 {
		if p.frozen() || !p.alive() {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the relay does not stop at SIGSTOP")
}

// frozen reports whether all threads are stopped.
func (p *relayProcess) frozen() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, name := range stats {
		b := readFile(name)
		if i := strings.LastIndexByte(string(b), ')'); i < 0 || i+2 >= len(b) || b[i+2] != 'T' {
			return false
		}
	}
	return len(stats) > 0
}

// thaw is SIGCONT.
func (p *relayProcess) thaw() { p.cmd.Process.Signal(syscall.SIGCONT) }

// stop is SIGTERM. It returns how long the relay took, and what was wrong about its end.
func (p *relayProcess) stop() (time.Duration, error) {
	begin := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(graceful):
		p.kill()
		return time.Since(begin), fmt.Errorf("still running %v after SIGTERM", graceful)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return time.Since(begin), fmt.Errorf("ended with %v after SIGTERM: %s", exit, tail(p.setup.log()))
	}
	return time.Since(begin), p.err
}

// watch notes the most memory and files that the process takes, until it ends.
func (p *relayProcess) watch() {
	defer close(p.usages)
	proc := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	for p.alive() {
		if b, err := os.ReadFile(proc + "/status"); err == nil {
			if _, after, ok := strings.Cut(string(b), "VmHWM:"); ok {
				var kib int64
				fmt.Sscan(after, &kib)
				p.worst.resident.Store(max(p.worst.resident.Load(), kib))
			}
		}
		if d, err := os.ReadDir(proc + "/fd"); err == nil {
			p.worst.files.Store(max(p.worst.files.Load(), int64(len(d))))
		}
		select {
		case <-p.ended:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tail is the end of a file.
func tail(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-600):]))
}
