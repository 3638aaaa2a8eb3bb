package report_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mailwhy/relay"
)

// TestExactlyOneReport: for random histories of attempts and crashes each recipient that is owed a report
// gets one. The reporter dies before and after its transactions, the whole process between an attempt and its
// settlement too; the real engine then starts from the files of the dead one.
func TestExactlyOneReport(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		for seed := range uint64(300) {
			history(t, newFakeStore(), seed)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		for seed := range uint64(20) {
			history(t, sqlite(t), 1000+seed)
		}
	})
}

// history plays one random history and checks its end.
func history(t *testing.T, s store, seed uint64) {
	t.Helper()
	w := newWorld(t, s, seed)
	w.odds = 4 + int(seed%12)
	w.o.Composer = jsonComposer{fail: func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.odds > 0 && w.rnd.IntN(10) == 0 {
			return errors.New("cannot compose")
		}
		return nil
	}}
	owed := map[string]relay.NoticeKind{} // by address; those that are tried for ever are owed nothing
	for range 12 {
		if w.rnd.IntN(2) == 0 {
			w.accept(pick(w.rnd, "app@example.com", "app@example.com", ""), randomRecipients(w.rnd, &w.n)...)
		}
		w.settle(func(m *relay.Message, r *relay.Recipient) {
			randomOutcome(w, r)
			if kind := owes(m, r); kind != "" {
				owed[r.Address] = kind
			}
		})
		w.round(time.Duration(w.rnd.IntN(3600*3)) * time.Second)
	}
	w.settleDown()
	got := map[string]relay.NoticeKind{}
	delays := map[string]int{}
	for _, x := range w.reports() {
		for i, a := range x.Recipients {
			if x.Kind == relay.NoticeDelayed {
				delays[a]++
				if x.States[i] != relay.Deferred {
					t.Errorf("seed %d: %s has a delay reported, and is %s", seed, a, x.States[i])
				}
				continue
			}
			if got[a] != "" {
				t.Errorf("seed %d: %s is reported twice", seed, a)
			}
			got[a] = x.Kind
		}
	}
	for a, kind := range owed {
		if got[a] != kind {
			t.Errorf("seed %d: %s is owed %q, got %q", seed, a, kind, got[a])
		}
	}
	for a, kind := range got {
		if owed[a] != kind {
			t.Errorf("seed %d: %s got %q, is owed %q", seed, a, kind, owed[a])
		}
	}
	for a, n := range delays {
		if n > 1 {
			t.Errorf("seed %d: %s has a delay reported %d times", seed, a, n)
		}
	}
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

func randomRecipients(rnd *rand.Rand, n *int) (rs []relay.Recipient) {
	for range 1 + rnd.IntN(4) {
		*n++
		rs = append(rs, relay.Recipient{Address: fmt.Sprintf("r%d@x", *n), Notify: pick(rnd,
			0, 0, relay.NotifyNever, relay.NotifyFailure, relay.NotifySuccess, relay.NotifyDelay,
			relay.NotifySuccess|relay.NotifyFailure|relay.NotifyDelay)})
	}
	return rs
}

// randomOutcome lets an attempt end somehow.
func randomOutcome(w *world, r *relay.Recipient) {
	r.Last = w.attempted("451 later\r\n")
	r.State = pick(w.rnd, relay.Failed, relay.Expired, relay.Relayed, relay.Deferred, relay.Deferred,
		relay.Deferred)
	switch r.State {
	case relay.Relayed:
		r.Last = w.attempted("250 ok\r\n")
		r.Last.DSN = w.rnd.IntN(2) == 0
	case relay.Deferred:
		r.NextAttempt = w.now.Add(time.Duration(w.rnd.IntN(7200)) * time.Second)
	}
}

// owes is RFC 3461, 5.2, written down a second time.
func owes(m *relay.Message, r *relay.Recipient) relay.NoticeKind {
	if m.Envelope.From == "" || r.Notify == relay.NotifyNever {
		return ""
	}
	switch {
	case (r.State == relay.Failed || r.State == relay.Expired) &&
		(r.Notify == 0 || r.Notify&relay.NotifyFailure != 0):
		return relay.NoticeFailed
	case r.State == relay.Relayed && r.Notify&relay.NotifySuccess != 0 && !r.Last.DSN:
		return relay.NoticeRelayed
	}
	return ""
}
