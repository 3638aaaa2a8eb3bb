package main

import (
	"context"
	"path/filepath"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/process"
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
	maxResident = 200 << 20 // bytes
	maxFiles    = 400
)

// secret is the password at the upstream: no log may hold it.
const secret = "p4ssw0rd-that-no-log-may-hold"

// relaySetup says how a relay is started. It stays the same from one start to the next: nothing is repaired
// between.
type relaySetup struct {
	binary   string
	dir      string // of its logs
	spool    string
	listen   string
	upstream string
	env      []string
	wrap     []string // command line before the relay's, see the package strace
}

// relayProcess is a running relay.
type relayProcess struct {
	*process.Process
	ready         time.Duration    // from the start to the greeting
	watcher       *process.Watcher // nil when it was not waited for
	memory, files int64            // most seen: bytes and descriptors; good once the process has ended
}

// freePort is a port of the loopback that nobody listens on, nor will before the relay does. It is given out
// once: a scenario whose relay has just been killed must not find another scenario's in its place.
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

// spec is how the process is started.
func (s *relaySetup) spec() process.Spec {
	return process.Spec{
		Args: []string{
			s.binary, "serve", "--listen", s.listen, "--upstream", s.upstream, "--spool", s.spool,
			"--delivery-log", s.deliveryLog(), "--retry", retry,
		},
		Under: s.wrap, Env: s.env, Log: s.log(),
	}
}

func (s *relaySetup) deliveryLog() string { return filepath.Join(s.dir, "delivery.jsonl") }

func (s *relaySetup) log() string { return filepath.Join(s.dir, "relay.log") }

// start starts the relay and waits until it greets. An error says what it wrote last.
func (s *relaySetup) start(ctx context.Context) (*relayProcess, error) {
	return s.startWithin(ctx, readyIn)
}

func (s *relaySetup) startWithin(ctx context.Context, limit time.Duration) (*relayProcess, error) {
	begin := time.Now()
	started, err := s.spec().Start(ctx, limit, func() bool { return process.Greets(s.listen) })
	if err != nil {
		return nil, err
	}
	p := &relayProcess{Process: started, ready: time.Since(begin)}
	p.watcher = process.Watch(100*time.Millisecond, func() {
		p.memory = max(p.memory, p.PeakMemory())
		p.files = max(p.files, int64(p.OpenFiles()))
	})
	return p, nil
}

// launch starts the relay and does not wait.
func (s *relaySetup) launch() (*relayProcess, error) {
	p, err := s.spec().Launch()
	return &relayProcess{Process: p}, err
}

// kill is kill -9.
func (p *relayProcess) kill() {
	p.Kill()
	p.unwatch()
}

// stop is SIGTERM. It returns how long the relay took, and what was wrong about its end.
func (p *relayProcess) stop() (time.Duration, error) {
	defer p.unwatch()
	return p.Stop(graceful)
}

// unwatch ends the watching, once.
func (p *relayProcess) unwatch() {
	if p.watcher != nil {
		p.watcher.End()
		p.watcher = nil
	}
}
