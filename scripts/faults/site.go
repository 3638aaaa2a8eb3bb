package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/disk"
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

// need is something of the machine that a test cannot do without.
type need string

// The needs.
const (
	needStrace need = "strace"
	needLoop   need = "loop mounts of ext4"
	needSink   need = "Postfix's smtp-sink"
)

// lacks returns why a need is not met here, or "". What Debian's packages can give is installed.
func (s *site) lacks(ctx context.Context, n need) string {
	if why, known := s.has[n]; known {
		return why
	}
	var err error
	switch n {
	case needStrace:
		err = s.tryStrace(ctx)
	case needLoop:
		err = s.tryLoop(ctx)
	case needHistory:
		err = tryHistory(ctx)
	case needSink:
		err = s.trySink(ctx)
	case needPostgres:
		err = tryPostgres(ctx)
	}
	why := ""
	if err != nil {
		why = fmt.Sprintf("%s: %v", n, err)
	}
	s.has[n] = why
	return why
}

// install installs a Debian package if a program of it is missing.
func install(ctx context.Context, program, pkg string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s is not installed, and there is no apt-get", program)
	}
	install := []string{"install", "-y", "-q", "--no-install-recommends", pkg}
	if err := process.Run(ctx, "", "apt-get", install...); err != nil {
		return err
	}
	_, err := exec.LookPath(program)
	return err
}

// tryStrace sees whether a process can be traced.
func (s *site) tryStrace(ctx context.Context) error {
	if err := install(ctx, "strace", "strace"); err != nil {
		return err
	}
	return process.Run(ctx, "", "strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e",
		"trace=fsync", "true")
}

// tryLoop sees whether an ext4 image can be mounted, and shut down.
func (s *site) tryLoop(ctx context.Context) error {
	if os.Getenv(inNamespace) == "" {
		return fmt.Errorf("no mount namespace of our own")
	}
	if err := install(ctx, "mkfs.ext4", "e2fsprogs"); err != nil {
		return err
	}
	if err := install(ctx, "mount", "mount"); err != nil {
		return err
	}
	d, err := disk.New(ctx, s.fresh("try"), 16<<20)
	if err != nil {
		return err
	}
	if err := d.Mount(ctx); err != nil {
		return err
	}
	defer d.Unmount()
	return d.Shutdown()
}

// trySink fetches smtp-sink without installing a mail server.
func (s *site) trySink(ctx context.Context) error {
	if _, err := os.Stat(s.sinkProgram()); err == nil {
		return nil
	}
	dir := filepath.Join(s.dir, "postfix")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	os.Chmod(dir, 0o777) // apt-get downloads as a user of its own
	if err := process.Run(ctx, dir, "apt-get", "download", "-q", "postfix"); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "postfix_*.deb"))
	if len(debs) == 0 {
		return fmt.Errorf("apt-get downloaded no postfix package")
	}
	return process.Run(ctx, dir, "dpkg", "-x", debs[0], dir)
}

// sinkProgram is the path of smtp-sink, and sinkLibraries what it is linked with.
func (s *site) sinkProgram() string {
	return filepath.Join(s.dir, "postfix/usr/sbin/smtp-sink")
}

func (s *site) sinkLibraries() string { return filepath.Join(s.dir, "postfix/usr/lib/postfix") }

// passOn gives a process the signals that ask this one to end.
func passOn(p *os.Process) (stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-c:
				p.Signal(sig)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
	}
}
