package history

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
	"mailwhy/relay/record"
)

// read calls do with the connection that reads.
func (h *History) read(do func(*sqlite.Conn) error) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	select {
	case <-h.closing:
		return fmt.Errorf("%s is closed", h.o.Path)
	default:
	}
	if h.reader == nil {
		c, err := sqlite.Open(h.o.Path, "mode=ro", "query_only=ON", "cache_size=-1024", "busy_timeout=5000",
			"trusted_schema=OFF")
		if err != nil {
			return fmt.Errorf("%s: %w", h.o.Path, err)
		}
		h.reader = c
	}
	err := do(h.reader)
	if err == nil {
		return nil
	}
	if sqlite.Code(err) != 0 {
		h.reader.Close()
		h.reader = nil
	}
	return fmt.Errorf("%s: %w", h.o.Path, err)
}

// Tallies implements relay.History.
func (h *History) Tallies(ctx context.Context, since time.Time, span time.Duration) (
	list []relay.Tally, err error) {
	slots := max(span.Milliseconds()/slotLength, 1)
	err = h.read(func(c *sqlite.Conn) error {
		return c.QueryContext(ctx, func(v []driver.Value) error {
			list = append(list, relay.Tally{
				Start: time.UnixMilli(number(v[0]) * slots * slotLength), Kind: relay.EventKind(text(v[1])),
				Category: diagnose.Category(text(v[2])), Count: number(v[3]),
			})
			return nil
		}, "SELECT slot/?1 AS span, kind, category, sum(count) FROM tally WHERE slot >= ?2 "+
			"GROUP BY span, kind, category ORDER BY span", slots, since.UnixMilli()/slotLength/slots*slots)
	})
	return list, err
}

// Reasons implements relay.History.
func (h *History) Reasons(ctx context.Context, since time.Time, kinds []relay.EventKind) (
	list []relay.ReasonTally, err error) {
	args := []driver.Value{since.UnixMilli() / slotLength}
	query := "SELECT t.category, t.reason, sum(t.count) AS n, min(t.first), max(t.last), s.body " +
		"FROM tally t LEFT JOIN sample s ON s.category = t.category AND s.reason = t.reason " +
		"WHERE t.slot >= ? AND t.reason <> '' AND t.kind IN (" + marks(kinds, &args) +
		") GROUP BY t.category, t.reason ORDER BY n DESC, t.reason"
	err = h.read(func(c *sqlite.Conn) error {
		return c.QueryContext(ctx, func(v []driver.Value) error {
			r := relay.ReasonTally{
				Category: diagnose.Category(text(v[0])), Reason: diagnose.Reason(text(v[1])),
				Count: number(v[2]), First: time.UnixMilli(number(v[3])), Last: time.UnixMilli(number(v[4])),
			}
			if body, ok := v[5].([]byte); ok {
				if e, err := eventOf(body); err == nil {
					r.Sample = &e
				}
			}
			list = append(list, r)
			return nil
		}, query, args...)
	})
	return list, err
}

// LastRelayed implements relay.History.
func (h *History) LastRelayed(ctx context.Context) (map[string]time.Time, error) {
	last := map[string]time.Time{}
	err := h.read(func(c *sqlite.Conn) error {
		return c.QueryContext(ctx, func(v []driver.Value) error {
			last[text(v[0])] = time.UnixMilli(number(v[1]))
			return nil
		}, "SELECT upstream, at FROM relayed")
	})
	return last, err
}

// timelineMost is how many events of a message are shown.
const timelineMost = 2000

// Timeline implements relay.History.
func (h *History) Timeline(ctx context.Context, id string) (list []relay.Event, err error) {
	numbered, err := h.events(ctx, "SELECT number, body FROM event WHERE id=?1 AND id<>'' OR "+
		"mail=?1 AND mail<>'' ORDER BY number LIMIT ?2", id, int64(timelineMost))
	for i := range numbered {
		list = append(list, numbered[i].Event)
	}
	return list, err
}

// Latest implements relay.History.
func (h *History) Latest(ctx context.Context, f relay.HistoryFilter) ([]relay.NumberedEvent, error) {
	args := []driver.Value{f.After}
	where := []string{"number > ?"}
	for _, equal := range []struct{ column, value string }{
		{"rcpt", folded(h.asStored(f.Recipient))},
		{"reason", string(f.Reason)}, {"category", string(f.Category)},
	} {
		if equal.value != "" {
			where = append(where, equal.column+"=? AND "+equal.column+"<>''")
			args = append(args, equal.value)
		}
	}
	if len(f.Kinds) > 0 {
		where = append(where, "kind IN ("+marks(f.Kinds, &args)+")")
	}
	return h.events(ctx, "SELECT number, body FROM event WHERE "+strings.Join(where, " AND ")+
		" ORDER BY number DESC LIMIT ?", append(args, int64(f.Limit))...)
}

// asStored is an address as Redact leaves it.
func (h *History) asStored(address string) string {
	if h.o.Redact == nil || address == "" {
		return address
	}
	e := record.Event{To: address}
	h.o.Redact(&e)
	return e.To
}

// events are those that a query selects.
func (h *History) events(ctx context.Context, query string, args ...driver.Value) (
	list []relay.NumberedEvent, err error) {
	err = h.read(func(c *sqlite.Conn) error {
		return c.QueryContext(ctx, func(v []driver.Value) error {
			body, _ := v[1].([]byte)
			e, err := eventOf(body)
			list = append(list, relay.NumberedEvent{Number: number(v[0]), Event: e})
			return err
		}, query, args...)
	})
	return list, err
}

// State implements relay.History.
func (h *History) State() relay.HistoryState {
	s := relay.HistoryState{Lost: h.lost.Load()}
	err := h.read(func(c *sqlite.Conn) error {
		at, ok, err := c.Integer("SELECT at FROM event ORDER BY number LIMIT 1")
		if ok {
			s.Since = time.UnixMilli(at)
			s.Events, _, err = c.Integer("SELECT count(*) FROM event")
		}
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.Fault = h.fault; s.Fault == nil {
		s.Fault = err
	}
	return s
}

// marks are as many places for values as there are kinds, whose values it appends to args.
func marks(kinds []relay.EventKind, args *[]driver.Value) string {
	for _, k := range kinds {
		*args = append(*args, string(k))
	}
	return strings.Join(slices.Repeat([]string{"?"}, len(kinds)), ",")
}

func number(v driver.Value) int64 { n, _ := v.(int64); return n }

func text(v driver.Value) string { s, _ := v.(string); return s }

// eventOf is the event that was stored.
func eventOf(body []byte) (relay.Event, error) {
	w, err := record.Parse(body)
	if err != nil {
		return relay.Event{}, err
	}
	return w.Event(), nil
}
