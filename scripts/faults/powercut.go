package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"mailwhy/scripts/faults/disk"
	"mailwhy/scripts/faults/traffic"
)

// testPowerCut cuts the power again and again under load, in two ways by turns: the file system is shut down
// without its journal being written, while the relay goes on and meets EIO everywhere (whatever it
// acknowledges then is lost); or the relay is stopped, the disk copied as it stands, and the copy used from
// then on. In both, what is in the page cache is gone.
func testPowerCut(ctx context.Context, s *site, r *result) {
	cuts := s.pick(2, 50)
	for _, journal := range []string{"ordered", "writeback"} {
		s.powerCuts(ctx, r, journal, cuts)
	}
}

// powerCuts is one file system and its cuts.
func (s *site) powerCuts(ctx context.Context, r *result, journal string, cuts int) {
	d, err := disk.New(ctx, s.fresh("disk"), 256<<20)
	must(err, "making a disk")
	d.Options += ",data=" + journal
	must(d.Mount(ctx), "mounting the disk")
	s.later(func() { d.Unmount() })
	t := newScenario(s, r, filepath.Join(d.Dir, "spool"))
	t.rules.RefusedMay = true // its commit failed for the relay, and was on the disk all the same
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.start(ctx)
	wait := t.client.Load(loading, 4, 2*time.Millisecond)
	defer wait()
	defer stop()
	for i := range cuts {
		if ctx.Err() != nil {
			return
		}
		traffic.Sleep(ctx, between(50*time.Millisecond, 500*time.Millisecond))
		if i%2 == 0 {
			t.cutByShutdown(d)
		} else {
			t.cutByCopy(ctx, d)
		}
		must(d.Mount(ctx), "I7 mounting the disk after a power cut")
		r.ran(1)
		t.start(ctx)
	}
	stop()
	wait()
	t.end(ctx, time.Minute)
	r.note("data=%s: %d cuts, half by shutting the file system down, half by copying the disk; %s", journal,
		cuts, t.usageNote())
	must(d.Unmount(), "unmounting the disk")
}

// cutByShutdown leaves the relay alive for a moment after the power of its disk was cut. The relay is stopped
// for the cut itself: an fsync that is under way when ext4 is shut down may return success although nothing
// was written (seen on Linux 6.18 without any of our code), which no power cut does.
func (t *scenario) cutByShutdown(d *disk.Disk) {
	must(t.relay.Freeze(), "stopping the relay")
	must(d.Shutdown(), "shutting the file system down")
	t.relay.Thaw()
	time.Sleep(between(10*time.Millisecond, 200*time.Millisecond))
	t.kill()
	must(d.Unmount(), "unmounting the disk")
}

// cutByCopy goes on with a copy of the disk as it was at one moment.
func (t *scenario) cutByCopy(ctx context.Context, d *disk.Disk) {
	must(t.relay.Freeze(), "stopping the relay")
	copied := d.Image + ".cut"
	must(d.CopyImage(ctx, copied), "copying the disk")
	t.kill()
	must(d.Unmount(), "unmounting the disk")
	must(os.Rename(copied, d.Image), "taking the copy")
}
