package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is mailwhy in a process of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	ended chan error
}

// startProcess runs mailwhy until the test ends at the latest.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("mailwhy", args...), ended: make(chan error, 1)}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// answers waits until the process has printed something, and reads on.
func (p *process) answers() {
	p.t.Helper()
	if _, err := p.out.ReadByte(); err != nil {
		p.t.Fatalf("it printed nothing: %v", err)
	}
	go io.Copy(io.Discard, p.out)
}

// reads waits until the process has read from its standard input more than a pipe holds.
func (p *process) reads() {
	p.t.Helper()
	if _, err := p.stdin.Write(make([]byte, 1<<20)); err != nil {
		p.t.Fatal(err)
	}
}

// end sends a signal and returns how the process ended of it.
func (p *process) end(s syscall.Signal) syscall.WaitStatus {
	p.t.Helper()
	p.cmd.Process.Signal(s)
	go func() { p.ended <- p.cmd.Wait() }()
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%v did not end it", s)
	}
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// dies checks that a signal kills the process, as a shell sees it: 128 and the signal's number.
func (p *process) dies(s syscall.Signal) {
	p.t.Helper()
	if w := p.end(s); !w.Signaled() || w.Signal() != s {
		p.t.Errorf("%v: exit status %d, want the signal", s, w.ExitStatus())
	}
}

// muteSocket is a control socket in a spool directory that answers nothing. It tells of each connection.
func muteSocket(t *testing.T) (dir string, connected <-chan net.Conn) {
	t.Helper()
	dir = t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := make(chan net.Conn, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c <- conn
		}
	}()
	return dir, c
}

// TestSignalsKill: whatever a command waits for or computes, SIGINT and SIGTERM kill it at once.
func TestSignalsKill(t *testing.T) {
	const reply = "550 5.1.1 no such user\n"
	for name, start := range map[string]func(t *testing.T) *process{
		"diagnose, waiting for a bounce": func(t *testing.T) *process {
			p := startProcess(t, "diagnose", "--dsn", "-")
			p.reads()
			return p
		},
		"diagnose, explaining many bounces": func(t *testing.T) *process {
			file := filepath.Join(t.TempDir(), "bounce.eml")
			report := reportWith("", strings.Repeat(aStatus+"\r\n", 5000))
			if err := os.WriteFile(file, []byte(report), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"diagnose", "--json", "--dsn"}
			for range 1000 { // for minutes
				args = append(args, file)
			}
			p := startProcess(t, args...)
			p.answers()
			return p
		},
		"diagnose, explaining replies without end": func(t *testing.T) *process {
			p := startProcess(t, "diagnose", "--json")
			go func() {
				for text := strings.Repeat(reply, 1000); ; {
					if _, err := io.WriteString(p.stdin, text); err != nil {
						return
					}
				}
			}()
			p.answers()
			return p
		},
		"log -f": func(t *testing.T) *process {
			file := filepath.Join(t.TempDir(), "delivery.log")
			if err := os.WriteFile(file, []byte("a line\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			p := startProcess(t, "log", "-f", file)
			p.answers()
			return p
		},
		"log, waiting for a line": func(t *testing.T) *process {
			p := startProcess(t, "log")
			io.WriteString(p.stdin, "a line\n")
			p.answers()
			return p
		},
		"queue list, at a relay that is silent": func(t *testing.T) *process {
			dir, connected := muteSocket(t)
			p := startProcess(t, "queue", "list", "--spool", dir)
			conn := <-connected
			t.Cleanup(func() { conn.Close() })
			return p
		},
		"check, reading a password": func(t *testing.T) *process {
			fifo := filepath.Join(t.TempDir(), "password")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			p := startProcess(t, "check", "--upstream", "smtp://user@127.0.0.1:25", "--password-file", fifo)
			for {
				f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0) // as soon as check has opened it
				if err == nil {
					t.Cleanup(func() { f.Close() })
					return p
				}
				if !errors.Is(err, unix.ENXIO) {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
		},
	} {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+"/"+s.String(), func(t *testing.T) { start(t).dies(s) })
		}
	}
}

// TestSignalsStopServers: what runs a server stops it, and ends well.
func TestSignalsStopServers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, c := range []struct {
		args  []string
		ready string
	}{
		{[]string{"practice", "--listen", "127.0.0.1:0"}, "practice upstream on"},
		{[]string{"demo", "--keep"}, "Interrupt to end"},
	} {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			p := startProcess(t, c.args...)
			for line := ""; !strings.HasPrefix(line, c.ready); {
				var err error
				if line, err = p.out.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if w := p.end(s); !w.Exited() || w.ExitStatus() != 0 {
				t.Errorf("%q, %v: %v", c.args, s, p.cmd.ProcessState)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "mailwhy-demo-*")); len(left) > 0 {
		t.Errorf("the demo left %q", left)
	}
}

// TestSignalAtPasswordPrompt: a terminal that was without echo has it again.
func TestSignalAtPasswordPrompt(t *testing.T) {
	master, terminal := openTerminal(t)
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("mailwhy", "hash-password")
	cmd.Stdin, cmd.Stderr = terminal, terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, ended: make(chan error, 1)}
	t.Cleanup(func() { cmd.Process.Kill() })
	if _, err := master.Read(make([]byte, 10)); err != nil { // the prompt
		t.Fatal(err)
	}
	for echo := true; echo; time.Sleep(time.Millisecond) {
		now, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		echo = now.Lflag&unix.ECHO != 0
	}
	p.dies(syscall.SIGINT)
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is left as %+v, was %+v: %v", after, before, err)
	}
}

// openTerminal opens a pseudo-terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}
