package accept

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"mailwhy/relay/internal/durable"
)

// Caps counts the recipients whose mail each upstream got today, by the day of UTC. The counts survive a
// restart, those of the last second perhaps not. It is safe for concurrent use.
type Caps struct {
	file string
	now  func() time.Time

	mu      sync.Mutex
	day     string
	counts  map[string]int
	changed bool
}

// capsFile is what the file holds.
type capsFile struct {
	Day    string         `json:"day"` // 2006-01-02, UTC
	Counts map[string]int `json:"counts"`
}

// OpenCaps reads the counts in a file, which need not be there.
func OpenCaps(file string, now func() time.Time) (*Caps, error) {
	c := &Caps{file: file, now: now, counts: map[string]int{}}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	var stored capsFile
	if err == nil {
		err = json.Unmarshal(b, &stored)
	}
	if err != nil {
		return nil, fmt.Errorf("the counts of daily_cap in %s: %w; delete the file to begin anew", file, err)
	}
	c.day = stored.Day
	if stored.Counts != nil {
		c.counts = stored.Counts
	}
	return c, nil
}

// Add counts n recipients for an upstream.
func (c *Caps) Add(upstream string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn()
	c.counts[upstream] += n
	c.changed = true
}

// Count is how many recipients an upstream had today.
func (c *Caps) Count(upstream string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn()
	return c.counts[upstream]
}

// turn begins a new day. c.mu is held.
func (c *Caps) turn() {
	if day := c.now().UTC().Format(time.DateOnly); day != c.day {
		c.day = day
		clear(c.counts)
	}
}

// saveEvery is how often counts that changed are written.
const saveEvery = time.Second

// Run writes the counts until ctx ends, and a last time then.
func (c *Caps) Run(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for ended := false; !ended; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			ended = true
		}
		if err := c.save(); err != nil {
			log.Warn("the counts of daily_cap cannot be written", "file", c.file, "err", err)
		}
	}
}

// save writes the counts if they have changed.
func (c *Caps) save() error {
	c.mu.Lock()
	changed := c.changed
	stored := capsFile{c.day, maps.Clone(c.counts)}
	c.changed = false
	c.mu.Unlock()
	if !changed {
		return nil
	}
	b, err := json.Marshal(stored)
	if err == nil {
		err = durable.WriteFile(c.file, b, 0o600)
	}
	if err != nil {
		c.mu.Lock()
		c.changed = true
		c.mu.Unlock()
	}
	return err
}
