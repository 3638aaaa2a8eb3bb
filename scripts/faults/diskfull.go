package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// testDiskFull fills the disk under load: below the floor, to the last byte, and to the last inode; with the relay
// running, and killed and started again on the full disk. Each time the client hears 452 or 451, the backlog goes on to the
// upstream, and accepting resumes by itself when there is room again.
func testDiskFull(ctx context.Context, s *site, r *result) {
	for range s.pick(1, 2) {
		for i, f := range []fullness{
			{"below the floor", func(d *disk) error { return d.fill("filler", d.free()-(600<<10)) }, false},
			{"to the last byte", func(d *disk) error { return d.fill("filler", 0) }, false},
			{"to the last byte, killed and started", func(d *disk) error { return d.fill("filler", 0) }, true},
			{"to the last inode", fillInodes, false},
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

// lateReport is how long a report may take that could not be stored while the disk was full: the reporter tries such a
// one again after a minute.
const lateReport = 100 * time.Second

// fullness is a way for a disk to be full.
type fullness struct {
	name string
	fill func(*disk) error
	kill bool
}

// fillInodes makes empty files until there can be no more.
func fillInodes(d *disk) error {
	dir := filepath.Join(d.dir, "filler")
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
	d, err := newDisk(ctx, s.fresh("disk"), 64<<20, "-N", "400")
	must(err, "making a disk")
	must(d.mount(ctx), "mounting the disk")
	s.later(func() { d.unmount() })
	t := newTrial(s, r, filepath.Join(d.dir, "spool"))
	t.rules.refusedMay = true
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.sink.hold()
	t.start(ctx)
	wait := t.client.load(loading, 4, 2*time.Millisecond)
	defer wait()
	defer stop()
	t.until(ctx, 10*time.Second, func() bool { return t.ledger.outstanding() > 150 })

	must(f.fill(d), "filling the disk")
	sleep(ctx, 1500*time.Millisecond) // the last that still fitted
	backlog, before := t.ledger.waiting(), t.refusals()
	if f.kill {
		t.kill()
		t.start(ctx)
	}
	sleep(ctx, time.Second)
	refusals := t.refusals() - before
	if refusals == 0 && !f.kill { // a relay that starts anew may have found some room
		r.fail("%s: the client was never refused", f.name)
	}
	t.sink.release()
	if !t.until(ctx, 30*time.Second, func() bool { return t.ledger.stillWaiting(backlog) == 0 }) {
		r.fail("%s: %d of %d that waited are not relayed while the disk is full (%d bytes free): %s", f.name, t.ledger.stillWaiting(backlog),
			len(backlog), d.free(), tail(t.setup.log()))
	}
	must(os.RemoveAll(filepath.Join(d.dir, "filler")), "making room")
	again := t.acceptsAgain(ctx, f.name)
	stop()
	wait()
	t.end(ctx, lateReport)
	must(d.unmount(), "unmounting the disk")
	r.note("%s: %d refused (all in all 452 %d, 451 %d); backlog of %d relayed meanwhile; accepting again after %v", f.name, refusals,
		t.ledger.refusedWith(452), t.ledger.refusedWith(451), len(backlog), again.Round(time.Millisecond))
}

// refusals is how many messages were refused with 452 or 451.
func (t *trial) refusals() int { return t.ledger.refusedWith(452) + t.ledger.refusedWith(451) }
