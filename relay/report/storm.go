package report

import (
	"context"
	"strings"
	"time"

	"mailwhy/relay"
)

// StormPolicy is storm control: of the failures with the same diagnosis that one sender must hear of, at most
// Threshold in each Window get a DSN of their own; a digest at the end of the window reports the others
// together. RFC 3461, 5.2.6 requires a report for each, so the zero StormPolicy is off.
type StormPolicy struct {
	Threshold int
	Window    time.Duration
}

func (p StormPolicy) on() bool { return p.Threshold > 0 && p.Window > 0 }

// stormKey is what failures that share a digest have in common.
type stormKey struct{ to, category, reason string }

// stormKeyOf is the key of the failure that n reports.
func stormKeyOf(m *relay.Message, n relay.Notice) stormKey {
	k := stormKey{to: strings.ToLower(m.Envelope.From)}
	if d := m.Recipients[n.Recipient].Diagnosis; d != nil {
		k.category, k.reason = string(d.Category), string(d.Reason)
	}
	return k
}

// storm counts failures. It holds no notices: postponed ones stay in the spool, flagged and with the time of
// their digest, so a crash only loses the counts of a storm that has not begun.
type storm struct {
	windows map[stormKey]*stormWindow
}

type stormWindow struct {
	ends  time.Time
	count int
}

// fold counts one failure and says whether and until when it is postponed. A window that directly follows one
// that overflowed belongs to the same storm: everything in it is postponed.
func (s *storm) fold(key stormKey, p StormPolicy, now time.Time) (until time.Time, folded bool) {
	w := s.windows[key]
	restart := w == nil || w.ends.After(now.Add(p.Window)) // the clock was set back
	switch {
	case restart || !now.Before(w.ends.Add(p.Window)):
		w = &stormWindow{ends: now.Add(p.Window)}
		s.windows[key] = w
	case !now.Before(w.ends):
		overflowed := w.count > p.Threshold
		*w = stormWindow{ends: now.Add(p.Window)}
		if overflowed {
			w.count = p.Threshold
		}
	}
	w.count++
	return w.ends, w.count > p.Threshold
}

// sweep forgets windows that no longer matter.
func (s *storm) sweep(now time.Time, p StormPolicy) {
	for key, w := range s.windows {
		if !now.Before(w.ends.Add(p.Window)) {
			delete(s.windows, key)
		}
	}
}

// restoreStorm finds the storms that were on when the last Run ended: by the notices that wait for a digest
// and, since it may not read all of these, by the number of failures that wait at all.
func (r *Reporter) restoreStorm(ctx context.Context) {
	policy := r.o.Storm()
	if !policy.on() {
		return
	}
	now := r.o.Now()
	waiting, _, err := r.claim(ctx, now.Add(policy.Window), digestBatch)
	if !r.written(ctx, "cannot read the notices that wait for a digest", err) {
		return
	}
	for _, c := range waiting {
		for _, e := range c.Entries {
			n, err := relay.NoticeOf(e)
			if err == nil && n.Kind == relay.NoticeFailed && stillOwed(c.Message, n) {
				r.storm.restore(stormKeyOf(c.Message, n), n, policy, now)
			}
		}
		r.o.Spool.GiveBack(c.Token)
	}
	for key, w := range r.storm.windows {
		if w.count <= policy.Threshold {
			delete(r.storm.windows, key)
		}
	}
}

// restore counts a failure that was already waiting.
func (s *storm) restore(key stormKey, n relay.Notice, p StormPolicy, now time.Time) {
	w := s.windows[key]
	if w == nil {
		w = &stormWindow{ends: now.Add(p.Window)}
		s.windows[key] = w
	}
	w.count++
	if n.Digest {
		w.ends, w.count = n.Due, p.Threshold+1
	}
}
