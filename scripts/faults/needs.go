package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/disk"
)

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
