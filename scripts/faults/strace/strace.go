// Package strace follows the system calls of a relay on its spool, and makes them fail, by the program of
// that name.
package strace

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// durable are the system calls by which a spool changes files.
const durable = "write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,msync,ftruncate,fallocate," +
	"rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat"

// holdUp is how long each of them waits before it is executed, in microseconds, so that the relay can be
// killed in between.
const holdUp = 3000

// Tracer follows a relay's system calls from its first on. strace counts the calls of each thread apart, and
// a Go program has many; so strace only holds each call up for a moment, and whoever reads Seen counts and
// kills.
type Tracer struct {
	fifo *os.File
	path string
	Seen chan string // calls on the spool, as strace prints them, at their entry
}

// New makes the pipe that strace writes into, and the command line to put before the relay's.
func New(dir, spool string) (*Tracer, []string, error) {
	path := filepath.Join(dir, "trace")
	os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, nil, err
	}
	// Opened for both, the pipe neither waits for strace nor ends with it.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	t := &Tracer{fifo: f, path: path, Seen: make(chan string, 4096)}
	go t.read(spool)
	return t, []string{
		"strace", "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-o", path, "-e", "signal=none", "-e",
		"trace=" + durable, "-e", "inject=" + durable + ":delay_enter=" + strconv.Itoa(holdUp), "--",
	}, nil
}

// entry is the beginning of a call: strace writes it before the call is executed, and the rest of the line
// after.
var entry = regexp.MustCompile(`(?:^|\n)\d+ +([a-z0-9_]+)\(`)

// read takes apart what strace writes, as it comes.
func (t *Tracer) read(spool string) {
	defer close(t.Seen)
	r := bufio.NewReaderSize(t.fifo, 1<<16)
	buf := make([]byte, 1<<16)
	text := ""
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		text += string(buf[:n])
		for {
			at := entry.FindStringSubmatchIndex(text)
			if at == nil {
				break
			}
			call, rest := text[at[2]:at[3]], text[at[1]:]
			if name, ok := spoolFile(rest, spool); ok {
				t.Seen <- call + " " + name
			}
			text = rest
		}
		if len(text) > 1<<12 {
			text = text[len(text)-1<<10:]
		}
	}
}

// spoolFile is the name, relative to the spool, of the file that a call's arguments begin with; ok is false
// for other files.
func spoolFile(arguments, spool string) (name string, ok bool) {
	line, _, _ := strings.Cut(arguments, "\n")
	i := strings.Index(line, spool)
	if i < 0 {
		return "", false
	}
	name = strings.TrimLeft(line[i+len(spool):], "/")
	if end := strings.IndexAny(name, `>"`); end >= 0 {
		name = name[:end]
	}
	return name, true
}

// Close removes the pipe.
func (t *Tracer) Close() {
	t.fifo.SetDeadline(time.Now())
	t.fifo.Close()
	os.Remove(t.path)
}

// Injection makes system calls of a running relay fail for a while.
type Injection struct {
	cmd *exec.Cmd
	log string
}

// Inject attaches strace to a process. The rule is one of strace's inject expressions. It returns once the
// process is being traced.
func Inject(ctx context.Context, pid int, dir string, files []string, calls []string,
	rule string) (*Injection, error) {
	set := strings.Join(calls, ",")
	in := &Injection{log: filepath.Join(dir, "inject.trace")}
	args := []string{
		"-f", "-y", "-s", "0", "-o", in.log, "-e", "signal=none", "-e", "trace=" + set, "-e",
		"inject=" + set + ":" + rule,
	}
	for _, f := range files {
		args = append(args, "-P", f)
	}
	in.cmd = exec.Command("strace", append(args, "-p", strconv.Itoa(pid))...)
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	messages, err := in.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := in.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(messages)
	if !lines.Scan() { // "strace: Process 123 attached with 9 threads"
		in.Stop()
		return nil, fmt.Errorf("strace does not attach to %d", pid)
	}
	go func() {
		for lines.Scan() {
		}
	}()
	return in, ctx.Err()
}

// Stop lets the process go on undisturbed, and returns how many calls failed.
func (in *Injection) Stop() int {
	in.cmd.Process.Signal(syscall.SIGINT)
	in.cmd.Wait()
	b, _ := os.ReadFile(in.log)
	return strings.Count(string(b), "(INJECTED)")
}
