package postgres

import (
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
)

// watchEvery is how often the board is looked at for changes.
const watchEvery = time.Second

// watch is who is told of changes.
type watch struct {
	prefix string
	tell   func(relay.BoardEntry)

	mu      sync.Mutex // held while tell is called
	stopped bool
	begun   bool  // it was told what was in force
	since   int64 // version up to which it was told
}

// Watch implements relay.Board.
func (c *Cluster) Watch(prefix string, tell func(relay.BoardEntry)) (stop func()) {
	w := &watch{prefix: prefix, tell: tell}
	c.mu.Lock()
	c.watches = append(c.watches, w)
	if !c.watching && c.ctx.Err() == nil {
		c.watching = true
		c.done.Go(c.look)
	}
	c.mu.Unlock()
	c.wakeWatches()
	return func() {
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
	}
}

// wakeWatches has the board looked at now.
func (c *Cluster) wakeWatches() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// look looks for changes until the end, while somebody watches.
func (c *Cluster) look() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		case <-c.changed:
		}
		if watches := c.watched(); len(watches) > 0 {
			c.lookOnce(watches) // who beats tells of an engine that is away
		}
	}
}

// watched are those who watch still.
func (c *Cluster) watched() []*watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := c.watches[:0:0]
	for _, w := range c.watches {
		w.mu.Lock()
		if !w.stopped {
			live = append(live, w)
		}
		w.mu.Unlock()
	}
	c.watches = live
	return live
}

// lookOnce tells of what has changed since everybody was told.
func (c *Cluster) lookOnce(watches []*watch) error {
	since := watches[0].since
	var prefixes []string
	for _, w := range watches {
		since = min(since, w.since)
		prefixes = append(prefixes, w.prefix)
	}
	var now int64
	var entries []relay.BoardEntry
	err := c.db.rows(c.ctx, `
		SELECT c.n, `+entryColumns+` FROM @.counter c LEFT JOIN @.board b ON b.version > $1
			AND EXISTS (SELECT FROM unnest($2::text[]) p WHERE starts_with(b.name, p))
		WHERE c.what = 'board' ORDER BY b.version`, []any{since, prefixes},
		func(r pgx.CollectableRow) error {
			e, found, err := scanEntry(r, &now)
			if found {
				entries = append(entries, e)
			}
			return err
		})
	if err != nil {
		return err
	}
	for _, w := range watches {
		w.hear(now, entries)
	}
	return nil
}

// hear tells of entries, up to a version. Where that is lower than what was told before, the board was set
// back, and all is told again.
func (w *watch) hear(now int64, entries []relay.BoardEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now < w.since {
		w.since, w.begun = 0, false
		return
	}
	for _, e := range entries {
		gone := len(e.Body) == 0 || e.Left == 1
		if w.stopped || e.Version <= w.since || !strings.HasPrefix(e.Name, w.prefix) || !w.begun && gone {
			continue
		}
		w.tell(e)
	}
	w.since, w.begun = now, true
}
