package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// queued is a message on its way through one lane.
type queued struct {
	id, from              string
	began, acked, arrived time.Time
}

// OutOfOrder lists the messages that arrived after another one of the same sender and lane which was begun
// only when they had been acknowledged. lane gives the lane by which a message went, by its queue id; "" is
// for those that are not held to an order. compared is how many were.
func OutOfOrder(records []Record, lane func(queue string) string) (broken []string, compared int) {
	all := map[string]*queued{}
	lines := map[[2]string][]*queued{}
	for _, r := range records {
		m := all[r.ID]
		if m == nil {
			m = &queued{id: r.ID}
			all[r.ID] = m
		}
		switch {
		case r.What == Began:
			m.began, m.from = r.Time, r.From
		case r.What == Acked:
			m.acked = r.Time
			if name := lane(r.Queue); name != "" {
				line := [2]string{name, m.from}
				lines[line] = append(lines[line], m)
			}
		case r.What == Arrived && m.arrived.IsZero():
			m.arrived = r.Time
		}
	}
	for line, ms := range lines {
		ms = slices.DeleteFunc(ms, func(m *queued) bool { return m.arrived.IsZero() })
		compared += len(ms)
		broken = append(broken, overtaken(line[0], ms)...)
	}
	slices.Sort(broken)
	return broken, compared
}

// overtaken lists the messages of one sender that were overtaken in a lane.
func overtaken(lane string, ms []*queued) (broken []string) {
	slices.SortFunc(ms, func(a, b *queued) int {
		return cmp.Or(a.arrived.Compare(b.arrived), cmp.Compare(a.id, b.id))
	})
	var last *queued // of those that arrived so far, the one that was begun last
	for _, m := range ms {
		if last != nil && last.began.After(m.acked) {
			broken = append(broken, fmt.Sprintf("%s arrived %v after %s by %s, and was accepted %v before it",
				m.id, m.arrived.Sub(last.arrived), last.id, lane, last.began.Sub(m.acked)))
		}
		if last == nil || m.began.After(last.began) {
			last = m
		}
	}
	return broken
}
