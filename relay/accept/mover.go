package accept

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
)

// Mover moves mail that waits to other upstreams: when its own is down, and when the routes have changed. It
// is safe for concurrent use.
type Mover struct {
	Spool interface {
		relay.Lister
		relay.Editor
	}
	Ways   *Ways
	Known  func(upstream string) bool // whether it is configured
	Moved  func(upstream string, recipients int)
	Record relay.Recorder
	Now    func() time.Time
}

// Relieve moves the mail that is due at an upstream that is down to the next one of its route, and returns
// how many messages it moved. A message whose last attempt may have been taken stays, since the upstream may
// have it.
func (mv *Mover) Relieve(ctx context.Context, upstream string) (int, error) {
	return mv.move(ctx, relay.QueueFilter{Lane: upstream, Waiting: true}, "the upstream is paused",
		func(m *relay.Message) string {
			if uncertain(m) || !due(m, mv.Now()) {
				return ""
			}
			return mv.Ways.instead(m)
		})
}

// Reconsider moves the mail that waits at an upstream which its route, as it is now, does not name, and
// returns how many messages it moved.
func (mv *Mover) Reconsider(ctx context.Context) (int, error) {
	return mv.move(ctx, relay.QueueFilter{Waiting: true}, "the routes have changed",
		func(m *relay.Message) string {
			route := mv.Ways.of(m)
			if slices.Contains(route.Upstreams, m.Lane) || uncertain(m) && mv.Known(m.Lane) {
				return ""
			}
			lane := mv.Ways.choose(route)
			if lane == "" && !mv.Known(m.Lane) {
				lane = route.Fallback
			}
			return lane
		})
}

// due reports whether a recipient is to be tried now.
func due(m *relay.Message, now time.Time) bool {
	return slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return r.DueAt(now) })
}

// uncertain reports whether a recipient waits although the upstream may have taken the message (RFC 5321,
// 4.5.3.2.6).
func uncertain(m *relay.Message) bool {
	return slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool {
		return r.Waiting() && r.Last != nil && r.Last.Uncertain
	})
}

// How many messages are looked at together, how many are moved at a time so that they share commits, and how
// long one that is being tried is waited for.
const (
	movePage = 1000
	moveMany = 32
	moveWait = time.Second
)

// move moves the messages of a filter for which to names another upstream.
func (mv *Mover) move(ctx context.Context, f relay.QueueFilter, why string,
	to func(*relay.Message) string) (int, error) {
	var moved atomic.Int64
	for f.Limit = movePage; ; {
		var ids []string
		seen := 0
		err := mv.Spool.List(ctx, f, func(m *relay.Message) bool {
			seen++
			if f.After = m.ID; to(m) != "" {
				ids = append(ids, m.ID)
			}
			return true
		})
		if err != nil {
			return int(moved.Load()), err
		}
		if err := mv.moveAll(ctx, ids, why, to, &moved); err != nil || seen < movePage {
			return int(moved.Load()), err
		}
	}
}

// moveAll moves messages, several at a time.
func (mv *Mover) moveAll(ctx context.Context, ids []string, why string, to func(*relay.Message) string,
	moved *atomic.Int64) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
		work  = make(chan string)
	)
	for range min(moveMany, len(ids)) {
		wg.Go(func() {
			for id := range work {
				switch err := mv.moveOne(ctx, id, why, to); {
				case err == nil:
					moved.Add(1)
				case errors.Is(err, errStays), errors.Is(err, relay.ErrNotFound),
					errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
				default:
					mu.Lock()
					first = cmp.Or(first, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, id := range ids {
		work <- id
	}
	close(work)
	wg.Wait()
	return first
}

// errStays ends the edit of a message that stays where it is.
var errStays = errors.New("the message stays")

// moveOne moves a message, if it still is to be moved.
func (mv *Mover) moveOne(ctx context.Context, id, why string, to func(*relay.Message) string) error {
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	var before relay.Message
	var lane string
	err := mv.Spool.Edit(ctx, id, func(m *relay.Message) (relay.Settlement, bool, error) {
		if before, lane = *m, to(m); lane == "" {
			return relay.Settlement{}, false, errStays
		}
		return relay.Settlement{Recipients: m.Recipients, Lane: lane}, false, nil
	})
	if err != nil {
		return err
	}
	from := before.Lane
	before.Lane = lane
	n := 0
	for i := range before.Recipients {
		if before.Recipients[i].Waiting() {
			n++
			mv.Record.Record(relay.MovedEvent(&before, i, from, why, mv.Now()))
		}
	}
	mv.Moved(lane, n)
	return nil
}
