package history

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"mailwhy/relay/internal/sqlite"
	"mailwhy/relay/record"
)

// Erased counts what was erased, or would be.
type Erased struct {
	Events   int64 // of the timelines
	Examples int64 // of reasons
}

// erasePage is how many rows are looked at, or removed, at once.
const erasePage = 500

// work is something for the writer to do between two transactions.
type work struct {
	do   func(*writer) error
	done chan error
}

// Erase removes the events that names picks, of those that were recorded before it is called; in an example's
// place comes the newest event of its reason that is left. The tallies, which name nobody, stay. With act
// false it only counts. After an error a part may be gone. It may be called while events are recorded.
func (h *History) Erase(ctx context.Context, names func(*record.Event) bool, act bool) (e Erased, err error) {
	if err := h.between(ctx, func(*writer) error { return nil }); err != nil { // writes what waits
		return e, err
	}
	events, err := h.named(ctx, names)
	if err != nil {
		return e, err
	}
	var examples []example
	err = h.read(func(c *sqlite.Conn) error {
		examples = nil
		return c.QueryContext(ctx, func(v []driver.Value) error {
			if body, _ := v[2].([]byte); picked(names, body) {
				examples = append(examples, example{text(v[0]), text(v[1])})
			}
			return nil
		}, "SELECT category, reason, body FROM sample")
	})
	e = Erased{int64(len(events)), int64(len(examples))}
	if err != nil || !act {
		return e, err
	}
	for part := range slices.Chunk(events, erasePage) {
		if err := h.between(ctx, func(w *writer) error { return w.forget(part) }); err != nil {
			return e, err
		}
	}
	return e, h.between(ctx, func(w *writer) error { return w.replace(examples, names) })
}

// between lets the writer write what waits and then do something.
func (h *History) between(ctx context.Context, do func(*writer) error) error {
	j := work{do, make(chan error, 1)}
	select {
	case h.work <- j:
		return <-j.done
	case <-h.closing:
		return fmt.Errorf("%s is closed", h.o.Path)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// picked reports whether names picks a stored event. One that cannot be read is not picked.
func picked(names func(*record.Event) bool, body []byte) bool {
	e, err := record.Parse(body)
	return err == nil && names(&e)
}

// named are the numbers of the events that names picks. They are read a page at a time, so that others who
// read do not wait for all of it.
func (h *History) named(ctx context.Context, names func(*record.Event) bool) (found []int64, err error) {
	for after, n := int64(0), erasePage; n == erasePage; {
		err := h.read(func(c *sqlite.Conn) error {
			n = 0
			return c.QueryContext(ctx, func(v []driver.Value) error {
				n, after = n+1, number(v[0])
				if body, _ := v[1].([]byte); picked(names, body) {
					found = append(found, after)
				}
				return nil
			}, "SELECT number, body FROM event WHERE number > ? ORDER BY number LIMIT ?", after,
				int64(erasePage))
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// perform writes what waits and does the work. It is in the order of what was recorded.
func (w *writer) perform(j work) {
	for n := len(w.h.queue); n > 0; {
		rows := w.gather()
		w.write(rows)
		n -= len(rows)
	}
	if !w.ready() {
		w.h.mu.Lock()
		defer w.h.mu.Unlock()
		j.done <- fmt.Errorf("%s: %w", w.h.o.Path, w.h.fault)
		return
	}
	j.done <- j.do(w)
}

// forget removes events.
func (w *writer) forget(numbers []int64) error {
	return w.transaction(func(c *sqlite.Conn) error {
		for _, n := range numbers {
			if _, err := c.Exec("DELETE FROM event WHERE number=?", n); err != nil {
				return err
			}
		}
		return nil
	})
}

// example is the key of one.
type example struct{ category, reason string }

// replace puts the newest event that is left in the place of examples that names picks, or nothing.
func (w *writer) replace(examples []example, names func(*record.Event) bool) error {
	return w.transaction(func(c *sqlite.Conn) error {
		for _, x := range examples {
			still := false // it may have been replaced meanwhile
			err := c.Query(func(v []driver.Value) error {
				body, _ := v[0].([]byte)
				still = picked(names, body)
				return nil
			}, "SELECT body FROM sample WHERE category=? AND reason=?", x.category, x.reason)
			if err == nil && still {
				err = x.replace(c)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// replace puts the newest event of the reason in the example's place.
func (x *example) replace(c *sqlite.Conn) error {
	_, err := c.Exec("DELETE FROM sample WHERE category=? AND reason=?", x.category, x.reason)
	if err != nil {
		return err
	}
	args := []driver.Value{x.category, x.reason}
	_, err = c.Exec("INSERT INTO sample (category, reason, at, body) SELECT category, reason, at, body "+
		"FROM event WHERE category=? AND reason=? AND kind NOT IN ("+marks(asides(), &args)+
		") ORDER BY number DESC LIMIT 1", args...)
	return err
}
