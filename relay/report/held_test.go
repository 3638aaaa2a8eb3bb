package report_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/report"
)

// heldWorld is a spool with reports that are held, and what was said of them.
type heldWorld struct {
	*world
	log strings.Builder
	n   int
}

// hold stores a message that is held since then, for a reason.
func (w *heldWorld) hold(report bool, why string, since time.Time) string {
	w.n++
	id := relay.NewID(worldBegins.Add(time.Duration(w.n) * time.Second))
	m := &relay.Message{
		ID: id, Lane: "default", Report: report, Arrived: worldBegins, Subject: "Not delivered: joe@b.test",
		Recipients: []relay.Recipient{
			{
				Address:  "app@a.test",
				State:    relay.Held,
				HeldFrom: relay.Queued,
				HeldWhy:  why,
				Last: &relay.Attempt{
					Time:  since,
					Stage: diagnose.StageRcpt,
					Reply: diagnose.ParseReply("550 5.1.1 no such sender\r\n"),
				},
			},
		},
	}
	content := "Subject: x\r\n\r\nX-Mailwhy-Queue-ID: ABOUT\r\n\r\n" +
		"Final-Recipient: rfc822; joe@b.test\r\nAction: failed\r\n"
	if err := w.store.Put(context.Background(), []*relay.Message{m}, strings.NewReader(content)); err != nil {
		w.t.Fatal(err)
	}
	return id
}

// sweepOnce runs a HeldReports for a moment.
func (w *heldWorld) sweepOnce(holdFor time.Duration) {
	w.events = nil
	w.log.Reset()
	h := report.NewHeldReports(report.HeldReportsOptions{
		Spool: w.store.(*diskStore), HoldFor: func() time.Duration { return holdFor }, Record: w,
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: func() time.Time { return w.now },
	})
	if err := h.Sweep(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// left are the ids that are still there.
func (w *heldWorld) left() map[string]bool {
	ids := map[string]bool{}
	err := w.store.(*diskStore).List(context.Background(), relay.QueueFilter{}, func(m *relay.Message) bool {
		ids[m.ID] = true
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// TestHeldReportsEnd: a bounce that no server took is given up after its time, with an ERROR and an event
// that name its recipients. Nothing else that is held is touched, and a hundred of these do not hide it.
func TestHeldReportsEnd(t *testing.T) {
	w := &heldWorld{world: newWorld(t, sqlite(t), 1)}
	const day = 24 * time.Hour
	refused := "the report could not be handed over: No such recipient exists."
	for range 250 {
		w.hold(false, "by the operator", worldBegins)
	}
	ours := w.hold(true, "by the operator", worldBegins)
	old := w.hold(true, refused, worldBegins.Add(day))
	recent := w.hold(true, refused, worldBegins.Add(3*day))
	w.now = worldBegins.Add(16 * day)

	w.sweepOnce(0)
	if len(w.left()) != 253 || len(w.events) != 0 {
		t.Fatalf("held for ever: %d left, %+v", len(w.left()), w.events)
	}
	w.sweepOnce(14 * day)
	if left := w.left(); len(left) != 252 || left[old] || !left[recent] || !left[ours] {
		t.Errorf("%d left; old %v, recent %v, the operator's %v",
			len(left), left[old], left[recent], left[ours])
	}
	if len(w.events) != 1 {
		t.Fatalf("%+v", w.events)
	}
	e := w.events[0]
	if e.Kind != relay.EventExpired || e.ID != old || e.To != "app@a.test" || e.DSN != "ABOUT" ||
		!strings.Contains(e.Note, "joe@b.test") {
		t.Errorf("%+v", e)
	}
	for _, want := range []string{"level=ERROR", old, "joe@b.test", "app@a.test", "no such sender"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log does not say %q: %s", want, w.log.String())
		}
	}
	w.sweepOnce(14 * day)
	if len(w.events) != 0 {
		t.Errorf("reported twice: %+v", w.events)
	}
}

// TestHeldReportsGoOn: an hour later it looks again.
func TestHeldReportsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looked []time.Duration
		began := time.Now()
		h := report.NewHeldReports(report.HeldReportsOptions{
			HoldFor: func() time.Duration { looked = append(looked, time.Since(began)); return 0 },
			Now:     time.Now,
		})
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Minute)
		defer cancel()
		h.Run(ctx)
		if got := fmt.Sprint(looked); got != "[0s 1h0m0s 2h0m0s]" {
			t.Error(got)
		}
	})
}
