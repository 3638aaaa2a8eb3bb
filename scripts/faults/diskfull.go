package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/smtptest/ledger"
	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/disk"
	"mailwhy/scripts/faults/traffic"
)

// testDiskFull fills the disk under load: below the floor, to the last byte, and to the last inode; with the
// relay running, and killed and started again on the full disk. Each time the client hears 452 or 451, the
// backlog goes on to the upstream, and accepting resumes by itself when there is room again.
func testDiskFull(ctx context.Context, s *site, r *result) {
	for range s.pick(1, 2) {
		for i, f := range []fullness{
			{name: "below the floor", fill: fillBelowFloor},
			{name: "to the last byte", fill: fillAll},
			{name: "to the last byte, killed and started", fill: fillAll, kill: true},
			{name: "to the last inode", fill: fillInodes, files: true},
		} {
			if ctx.Err() != nil {
				return
			}
			if !s.full && i%2 == 0 {
				continue
			}
			s.fillUp(ctx, r, &f)
			r.ran(1)
		}
	}
}

// lateReport is how long a report may take that could not be stored while the disk was full: the reporter
// tries such a one again after a minute.
const lateReport = 100 * time.Second

// fullness is a way for a disk to be full.
type fullness struct {
	name string
	fill func(*disk.Disk) error
	kill bool
	// files says that only contents which get a file of their own find no room. Of the mixture that is one
	// in 25, and a busy machine offers too few in the time; so larger ones are offered as well.
	files bool
}

// fillBelowFloor leaves less than the relay's spool.free_floor.
func fillBelowFloor(d *disk.Disk) error { return d.Fill("filler", d.Free()-(600<<10)) }

// fillAll leaves nothing.
func fillAll(d *disk.Disk) error { return d.Fill("filler", 0) }

// fillInodes makes empty files until there can be no more.
func fillInodes(d *disk.Disk) error {
	dir := filepath.Join(d.Dir, "filler")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil
		}
		f.Close()
	}
}

// fillUp is one disk that gets full and empty again.
func (s *site) fillUp(ctx context.Context, r *result, f *fullness) {
	mark := s.mark()
	defer s.unwind(mark)
	d, err := disk.New(ctx, s.fresh("disk"), 64<<20, "-N", "400")
	must(err, "making a disk")
	must(d.Mount(ctx), "mounting the disk")
	s.later(func() { d.Unmount() })
	t := newScenario(s, r, filepath.Join(d.Dir, "spool"))
	t.rules.RefusedMay = true
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.sink.Hold()
	t.start(ctx)
	wait := t.client.Load(loading, 4, 2*time.Millisecond)
	defer wait()
	defer stop()
	t.until(ctx, 10*time.Second, func() bool { return t.ledger.Outstanding() > 150 })

	must(f.fill(d), "filling the disk")
	if f.files {
		large := &traffic.Client{Ledger: t.ledger, Addr: t.setup.listen, Prefix: "large",
			Mix: traffic.Mix{Users: traffic.GoodUser, Size: 600 << 10}}
		offered := large.Load(loading, 1, 50*time.Millisecond)
		defer offered()
		defer stop()
	}
	traffic.Sleep(ctx, 1500*time.Millisecond) // the last that still fitted
	backlog, before := t.backlog(), t.refusals()
	if f.kill {
		t.kill()
		t.start(ctx)
	}
	traffic.Sleep(ctx, time.Second)
	refused := func() bool { return t.refusals() > before }
	if !f.kill && !t.until(ctx, 10*time.Second, refused) { // one that starts again may have found some room
		r.fail("%s: the client was never refused", f.name)
	}
	refusals := t.refusals() - before
	t.sink.Release()
	if !t.until(ctx, 30*time.Second, func() bool { return t.ledger.Unsettled(backlog) == 0 }) {
		r.fail("%s: %d of %d that waited are not relayed while the disk is full (%d bytes free): %s", f.name,
			t.ledger.Unsettled(backlog), len(backlog), d.Free(), process.Tail(t.setup.log()))
	}
	must(os.RemoveAll(filepath.Join(d.Dir, "filler")), "making room")
	again := t.acceptsAgain(ctx, f.name)
	stop()
	wait()
	t.end(ctx, lateReport)
	must(d.Unmount(), "unmounting the disk")
	r.note(
		"%s: %d refused (in all 452 %d, 451 %d); backlog of %d relayed meanwhile; accepting again after %v",
		f.name, refusals, t.ledger.RefusedWith(452), t.ledger.RefusedWith(451), len(backlog),
		again.Round(time.Millisecond))
}

// backlog are the outstanding recipients, without those that the sink refuses for good, whose senders get a
// bounce later.
func (t *scenario) backlog() []ledger.Recipient {
	return slices.DeleteFunc(t.ledger.Waiting(), func(r ledger.Recipient) bool {
		return strings.HasPrefix(r.To, traffic.BadUser+".")
	})
}

// refusals is how many messages were refused with 452 or 451.
func (t *scenario) refusals() int { return t.ledger.RefusedWith(452) + t.ledger.RefusedWith(451) }
