package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"mailwhy/relay/smtptest/process"
)

// site is where the tests run: a scratch directory, the relay's binary, and what must be undone.
type site struct {
	options
	out    io.Writer
	dir    string
	binary string

	mu   sync.Mutex
	undo []func()
	n    int
	has  map[need]string // why a need is not met; "" when it is

	ports map[string]bool // given out
}

// inNamespace marks the process that runs in a mount namespace of its own.
const inNamespace = "FAULTS_IN_NAMESPACE"

// enterNamespace runs the program again in a mount namespace of its own, so that its mounts end with it
// however it ends. It reports whether this process is the inner one, and otherwise the inner one's exit
// status. Where namespaces are not allowed the program goes on as it is: needLoop will say so.
func enterNamespace() (inside bool, status int) {
	if os.Getenv(inNamespace) != "" {
		return true, 0
	}
	exe, err := os.Executable()
	if err != nil {
		return true, 0
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return true, 0
	}
	// The signals of a terminal reach the inner process too; SIGTERM comes here alone.
	stop := passOn(cmd.Process)
	defer stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false, max(exit.ExitCode(), exitBroken)
	}
	if err != nil {
		return false, exitBroken
	}
	return false, 0
}

// newSite makes the scratch directory and builds the relay.
func newSite(ctx context.Context, o options, out io.Writer) (*site, error) {
	dir, err := os.MkdirTemp("", "mailwhy-faults-")
	if err != nil {
		return nil, err
	}
	s := &site{
		options: o, out: out, dir: dir, binary: o.binary, has: map[need]string{}, ports: map[string]bool{},
	}
	if o.keep {
		fmt.Fprintln(out, "scratch directory:", dir)
	} else {
		s.later(func() { os.RemoveAll(dir) })
	}
	if s.binary == "" {
		s.binary = filepath.Join(dir, "mailwhy")
		if err := process.Build(ctx, s.binary); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// close undoes everything.
func (s *site) close() { s.unwind(0) }

// later has f run when the test, or the program, ends.
func (s *site) later(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undo = append(s.undo, f)
}

// mark is a point to unwind to.
func (s *site) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.undo)
}

// unwind undoes, newest first, what was done since the mark.
func (s *site) unwind(mark int) {
	for {
		s.mu.Lock()
		if len(s.undo) <= mark {
			s.mu.Unlock()
			return
		}
		f := s.undo[len(s.undo)-1]
		s.undo = s.undo[:len(s.undo)-1]
		s.mu.Unlock()
		f()
	}
}

// fresh makes a new directory.
func (s *site) fresh(name string) string {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	dir := filepath.Join(s.dir, fmt.Sprintf("%s-%d", name, n))
	must(os.Mkdir(dir, 0o755), "making a directory")
	return dir
}

// pick is the number for the quick form or the full one.
func (s *site) pick(quick, full int) int {
	if s.full {
		return full
	}
	return quick
}
