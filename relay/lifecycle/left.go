package lifecycle

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"mailwhy/relay"
)

// How much of what is left is named, so that a large queue does not fill the log.
const (
	maxGroups = 20
	maxIDs    = 50
)

// What stands for the reason of a recipient that has none.
const (
	notTried = "not_tried"
	isHeld   = "held"
)

// Group is what is left for one upstream for one reason.
type Group struct {
	Upstream   string
	Reason     string // of the diagnosis; not_tried or held without one
	Recipients int64
}

// Left is what a relay leaves in its spool when it ends.
type Left struct {
	Messages int64 // that a recipient waits for, or a report is owed for
	Owed     int64 // reports and events that are owed
	Groups   []Group
	IDs      []string // of the first messages
	Partial  bool     // there was no time to look at all: Groups and IDs are of a part
}

// Survey looks at what is left, until ctx ends at the latest.
func Survey(ctx context.Context, spool relay.Lister) (l Left, err error) {
	stat, err := spool.Stat(ctx)
	if err != nil {
		return l, err
	}
	l.Messages, l.Owed = stat.Messages, stat.Owed
	counts := map[Group]int64{}
	err = spool.List(ctx, relay.QueueFilter{}, func(m *relay.Message) bool {
		if len(l.IDs) < maxIDs {
			l.IDs = append(l.IDs, m.ID)
		}
		for i := range m.Recipients {
			if r := &m.Recipients[i]; !r.State.Final() {
				counts[Group{Upstream: m.Lane, Reason: reason(r)}]++
			}
		}
		return ctx.Err() == nil
	})
	if l.Partial = ctx.Err() != nil; l.Partial {
		err = nil
	}
	for g, n := range counts {
		g.Recipients = n
		l.Groups = append(l.Groups, g)
	}
	slices.SortFunc(l.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Recipients, a.Recipients), cmp.Compare(a.Upstream, b.Upstream),
			cmp.Compare(a.Reason, b.Reason))
	})
	return l, err
}

// reason is why a recipient still waits.
func reason(r *relay.Recipient) string {
	switch {
	case r.State == relay.Held:
		return isHeld
	case r.Diagnosis != nil:
		return string(r.Diagnosis.Reason)
	}
	return notTried
}

// Log writes what is left to the operational log: a line for the whole, and one for each of the largest
// groups.
func (l *Left) Log(log *slog.Logger) {
	if l.Messages == 0 {
		log.Info("stopped: nothing is left in the spool")
		return
	}
	log.Warn("stopped: mail is left in the spool, for the next start", "messages", l.Messages,
		"owed", l.Owed, "ids", strings.Join(l.IDs, " "), "ids_of_all", int64(len(l.IDs)) == l.Messages)
	for i, g := range l.Groups {
		if i == maxGroups {
			log.Warn("left in the spool: more groups than are named", "groups", len(l.Groups)-maxGroups)
			break
		}
		log.Warn("left in the spool", "upstream", g.Upstream, "reason", g.Reason, "recipients", g.Recipients,
			"counted_all", !l.Partial)
	}
}

// Write writes what is left for people; nothing when nothing is.
func (l *Left) Write(w io.Writer) {
	if l.Messages == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s left in the spool, for the next start or mailwhy queue export:\n\n",
		plural(l.Messages, "message"))
	fmt.Fprintf(w, "  %10s  %-20s %s\n", "recipients", "upstream", "reason")
	for _, g := range l.Groups[:min(len(l.Groups), maxGroups)] {
		fmt.Fprintf(w, "  %10d  %-20s %s\n", g.Recipients, g.Upstream, g.Reason)
	}
	if n := len(l.Groups) - maxGroups; n > 0 {
		fmt.Fprintf(w, "  and %s more\n", plural(int64(n), "line"))
	}
	if l.Owed > 0 {
		fmt.Fprintf(w, "  reports and events to be made: %d\n", l.Owed)
	}
	if l.Partial {
		fmt.Fprintln(w, "  (of a part of them: there was no time to count all)")
	}
	if len(l.IDs) > 0 {
		fmt.Fprintf(w, "\n  ids: %s", strings.Join(l.IDs, " "))
		if rest := l.Messages - int64(len(l.IDs)); rest > 0 {
			fmt.Fprintf(w, " and %d more", rest)
		}
		fmt.Fprintln(w)
	}
}

// plural is a number with its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
