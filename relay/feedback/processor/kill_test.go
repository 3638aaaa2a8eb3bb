package processor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// TestKilled: a kill -9 between any two steps, and within the one that hands a bounce to the spool, neither
// loses an event that was taken nor tells it, or bounces it, twice.
func TestKilled(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { killed(t, rand.New(rand.NewPCG(seed, 5)), 30) })
	}
}

func killed(t *testing.T, rnd *rand.Rand, count int) {
	w := newWorld(t)
	var messages []*relay.Message
	for range count {
		messages = append(messages, w.relayed(nil, "a@x.example"))
	}
	died := "" // what a kill within Put left
	ctx := context.WithValue(t.Context(), aroundPut{}, func() {
		if died == "" && rnd.IntN(4) == 0 {
			died = w.copyFiles()
		}
	})
	taken, kills := 0, 0
	for taken < count || w.owed() > 0 || w.store.Stat().Waiting > 0 {
		switch step := rnd.IntN(4); {
		case step == 0 && taken < count:
			m := messages[taken]
			e := w.bounced(m.ID, "a@x.example", queueID(m))
			for range 1 + rnd.IntN(3) { // the provider repeats what it was not answered in time
				w.comes("hook", e)
			}
			taken++
		case step == 1:
			w.round()
		case step == 2:
			consume(ctx, t, w, rnd)
		case rnd.IntN(3) == 0:
			died = w.copyFiles()
		}
		if died != "" {
			w.kill(died)
			died = ""
			kills++
		}
		w.pass(time.Second)
	}
	w.restart() // what was on its way to the spool gets there
	for end := time.Now().Add(20 * time.Second); len(w.spool.all()) < count; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			break
		}
	}
	if n := len(w.spool.all()); n != count {
		t.Errorf("%d bounces of %d, after %d kills", n, count, kills)
	}
	if kills < 5 {
		t.Errorf("only %d kills", kills)
	}
	if n := len(w.recorded(relay.EventBounced)); n != count {
		t.Errorf("%d events were recorded, want %d", n, count)
	}
	for _, m := range messages {
		found, err := w.store.Remembered(t.Context(), m.ID)
		if err != nil || len(found) != 1 || len(found[0].Told) != 1 {
			t.Fatalf("of %s: %+v, %v", m.ID, found, err)
		}
	}
}

// consume answers what is owed as the reporter does: with a message whose id is made of the notices.
func consume(ctx context.Context, t *testing.T, w *world, rnd *rand.Rand) {
	claims, _, err := w.store.Claim(t.Context(), relay.ClaimQuery{
		Topic: relay.TopicReport, Now: w.clock().Add(time.Hour), Max: 1 + rnd.IntN(5), For: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range claims {
		id := relay.DerivedID(c.Message.Arrived, c.Message.ID, c.Entries[0].Key,
			c.Message.Recipients[0].Last.Time.String())
		err := w.store.Consume(ctx, relay.Answer{
			Entries: c.Entries, Content: strings.NewReader("report"),
			Messages: []*relay.Message{{ID: id, Report: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.store.GiveBack(c.Token)
	}
}

// all are the reports that the spool has.
func (s *fakeSpool) all() []*relay.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports
}
