package sqlite

import (
	"errors"
	"fmt"
	"os"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// disk is the room that a spool has: its limits, and the reserve that is kept for the time when the disk is
// full.
type disk struct {
	dir    files.Dir
	limits *Limits
	free   files.FreeSpace
}

// room says whether one more message of size bytes is within the limits of the spool that holds n.
func (d *disk) room(n database.Counts, size int64) error {
	switch lim := d.limits; {
	case lim.MaxMessages > 0 && n.Messages >= lim.MaxMessages:
		return fmt.Errorf("%w: it holds %d messages, its limit", relay.ErrFull, n.Messages)
	case lim.MaxBytes > 0 && n.Bytes+size > lim.MaxBytes:
		return fmt.Errorf("%w: it holds %d bytes of %d", relay.ErrFull, n.Bytes, lim.MaxBytes)
	}
	return nil
}

// aboveFloor says whether size more bytes leave as much of the disk free as they must.
func (d *disk) aboveFloor(size int64) error {
	floor := d.limits.FreeFloor
	if floor == 0 {
		return nil
	}
	free, err := d.free.Bytes(d.dir.Path)
	if err != nil {
		return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
	}
	if free-size < floor {
		return fmt.Errorf("%w: %d bytes are free on its disk, and %d are to be left", relay.ErrFull, free,
			floor)
	}
	return nil
}

// diskError gives an error of the file system its name in the port.
func diskError(err error) error {
	if database.IsFull(err) {
		return fmt.Errorf("%w: %w", relay.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
}

// The reserve is freed a step at a time, since whatever has filled the disk may take that room as well, and
// only when an outcome waits for it. The last part is left for a start on the full disk.
const (
	reserveStep  = 4 << 20
	startReserve = 1 << 20
)

// reserved is how large the reserve is now.
func (d *disk) reserved() int64 {
	fi, err := os.Stat(d.dir.File(files.Reserve))
	if err != nil {
		return 0
	}
	return fi.Size()
}

// dropReserve frees the reserve but for left bytes. It reports false when there is no more than that.
func (d *disk) dropReserve(left int64) bool {
	if d.reserved() <= left {
		return false
	}
	if err := os.Truncate(d.dir.File(files.Reserve), left); err != nil {
		d.dir.Log.Error("cannot free the spool's reserve", "dir", d.dir.Path, "err", err)
		return false
	}
	return true
}

// dropStep frees a step of the reserve.
func (d *disk) dropStep() bool { return d.dropReserve(max(startReserve, d.reserved()-reserveStep)) }

// makeReserve puts the reserve in place at a start. A disk without room for it gets along with less, which
// is all that is asked of it from then on.
func (d *disk) makeReserve() {
	err := d.refillReserve()
	if err == nil {
		return
	}
	if free, e := files.FreeBytes(d.dir.Path); e == nil {
		lim := d.limits
		lim.Reserve = min(lim.Reserve, d.reserved()+max(0, free-lim.FreeFloor)/2)
		err = errors.Join(err, d.refillReserve())
	}
	d.dir.Log.Warn("the disk has no room for all of the spool's reserve: "+
		"once it is full, outcomes may have to wait until it is not",
		"dir", d.dir.Path, "bytes", d.reserved(), "err", err)
}

// slack is how much must be free, whatever the floor, before new messages are taken again.
const slack = 1 << 20

// refillReserve puts the reserve back once there is room for it above the floor.
func (d *disk) refillReserve() error {
	free, err := files.FreeBytes(d.dir.Path)
	if err != nil {
		return err
	}
	missing := max(0, d.limits.Reserve-d.reserved())
	if free < max(d.limits.FreeFloor, slack)+missing {
		return fmt.Errorf("%w: %d bytes are free", relay.ErrFull, free)
	}
	if missing == 0 {
		return nil
	}
	return durable.Reserve(d.dir.File(files.Reserve), d.limits.Reserve)
}
