package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/disk"
	"mailwhy/scripts/faults/strace"
	"mailwhy/scripts/faults/traffic"
)

// ioFault makes some system calls on the spool fail.
type ioFault struct {
	calls []string
	error string
	when  string // of strace: "" is each, "3" the third of each thread, "2+3" every third from the second on
}

func (f *ioFault) String() string {
	when := f.when
	if when == "" {
		when = "all"
	}
	return fmt.Sprintf("%s=%s when=%s", f.calls[0], f.error, when)
}

// ioFaults is every call by which the spool changes a file, with every error that the disk can answer, once
// and for as long as it lasts.
func ioFaults(full bool) []ioFault {
	groups := [][]string{
		{"fsync", "fdatasync", "sync_file_range"},
		{"pwrite64", "write"},
		{"ftruncate", "fallocate"},
		{"openat", "mkdirat"},
		{"rename", "renameat", "renameat2"},
		{"unlink", "unlinkat"},
		{"pread64", "read"},
	}
	errors, whens := []string{"EIO", "ENOSPC", "EROFS"}, []string{"", "1", "2", "3", "2+3"}
	if !full {
		groups, errors, whens = groups[:2], errors[:2], []string{"", "2+3"}
	}
	var all []ioFault
	for _, g := range groups {
		for _, e := range errors {
			for _, w := range whens {
				all = append(all, ioFault{g, e, w})
			}
		}
	}
	return all
}

// testIOError makes the calls of a running relay fail for a while, under load. It must refuse what it cannot
// keep, accept again by itself when the faults end, and forget nothing; every other time it is killed in
// the middle of it.
func testIOError(ctx context.Context, s *site, r *result) {
	t := newScenario(s, r, "")
	t.rules.RefusedMay = true
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.start(ctx)
	wait := t.client.Load(loading, 4, 4*time.Millisecond)
	failed, slowest := 0, time.Duration(0)
	faults := ioFaults(s.full)
	for i := range faults {
		if ctx.Err() != nil {
			break
		}
		n, took := t.failFor(ctx, &faults[i], i%2 == 1)
		failed, slowest = failed+n, max(slowest, took)
		r.ran(1)
	}
	stop()
	wait()
	t.end(ctx, time.Minute)
	r.note(
		"%d kinds of failure, %d calls failed; refused with 451 %d, with 452 %d; accepting again in %v; %s",
		len(faults), failed, t.ledger.RefusedWith(451), t.ledger.RefusedWith(452),
		slowest.Round(time.Millisecond), t.usageNote())
	for i := range s.pick(2, 12) {
		if ctx.Err() != nil {
			return
		}
		s.failThenCut(ctx, r, i)
	}
}

// spoolFiles are the files and directories of the spool, for strace's path filter.
func (t *scenario) spoolFiles() []string {
	files := []string{t.setup.spool}
	entries, _ := os.ReadDir(t.setup.spool)
	for _, e := range entries {
		files = append(files, filepath.Join(t.setup.spool, e.Name()))
	}
	return files
}

// failFor injects one fault for a moment. It returns how many calls failed, and how long after the end of the
// fault the relay accepted again.
func (t *scenario) failFor(ctx context.Context, f *ioFault, kill bool) (failed int, again time.Duration) {
	rule := "error=" + f.error
	if f.when != "" {
		rule += ":when=" + f.when
	}
	in, err := strace.Inject(ctx, t.relay.PID(), t.dir, t.spoolFiles(), f.calls, rule)
	must(err, "attaching strace")
	traffic.Sleep(ctx, between(150*time.Millisecond, 400*time.Millisecond))
	if kill {
		t.relay.kill()
		failed = in.Stop()
		t.buried()
		t.kills++
		t.start(ctx)
	} else {
		failed = in.Stop()
	}
	if !t.relay.Alive() {
		t.result.fail("%v: the relay ended: %s", f, process.Tail(t.setup.log()))
		t.buried()
		t.start(ctx)
	}
	return failed, t.acceptsAgain(ctx, f.String())
}

// acceptsAgain waits until the relay acknowledges mail, and returns how long that took.
func (t *scenario) acceptsAgain(ctx context.Context, after string) time.Duration {
	begin, before := time.Now(), t.ledger.Acked()
	if !t.until(ctx, 40*time.Second, func() bool { return t.ledger.Acked() > before+5 }) && ctx.Err() == nil {
		t.result.fail("%s: nothing is accepted 40 s after the fault ended: %s", after,
			process.Tail(t.setup.log()))
	}
	return time.Since(begin)
}

// failThenCut makes every fsync fail and then cuts the power: whatever was acknowledged on a failed fsync is
// lost.
func (s *site) failThenCut(ctx context.Context, r *result, n int) {
	mark := s.mark()
	defer s.unwind(mark)
	d, err := disk.New(ctx, s.fresh("disk"), 128<<20)
	must(err, "making a disk")
	must(d.Mount(ctx), "mounting the disk")
	s.later(func() { d.Unmount() })
	t := newScenario(s, r, filepath.Join(d.Dir, "spool"))
	t.rules.RefusedMay = true
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.start(ctx)
	wait := t.client.Load(loading, 4, time.Millisecond)
	defer wait()
	defer stop()
	traffic.Sleep(ctx, 200*time.Millisecond)
	rules := []string{"error=EIO:when=2+2", "error=EIO:when=1", "error=EIO", "error=EIO:when=3+4"}
	in, err := strace.Inject(ctx, t.relay.PID(), t.dir, t.spoolFiles(), []string{"fsync", "fdatasync"},
		rules[n%len(rules)])
	must(err, "attaching strace")
	traffic.Sleep(ctx, between(100*time.Millisecond, 700*time.Millisecond))
	t.relay.Signal(syscall.SIGSTOP)
	in.Stop() // a traced thread is not stopped by the signal alone
	must(t.relay.Freeze(), "stopping the relay")
	must(d.Shutdown(), "shutting the file system down")
	t.relay.kill()
	t.buried()
	must(d.Unmount(), "unmounting the disk")
	must(d.Mount(ctx), "I7 mounting the disk after a power cut")
	t.start(ctx)
	r.ran(1)
	stop()
	wait()
	t.end(ctx, 30*time.Second)
}
