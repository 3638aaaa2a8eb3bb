package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/admin/stream"
)

// newStream is a stream that keeps 4 events for at most 2 followers.
func newStream() *stream.Stream { return stream.New(stream.Options{Run: "run", Keep: 4, Followers: 2}) }

// record records events by their numbers.
func record(s *stream.Stream, from, to int) {
	for i := from; i < to; i++ {
		s.Record(relay.Event{ID: fmt.Sprint(i)})
	}
}

// follow begins to follow, until the test ends.
func follow(t *testing.T, s *stream.Stream, last string) *stream.Follower {
	t.Helper()
	f, err := s.Follow(last)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// want reads the events with these numbers.
func want(t *testing.T, f *stream.Follower, from, to int) (last string) {
	t.Helper()
	for i := from; i < to; i++ {
		id, e, err := f.Next(t.Context())
		if err != nil || e.ID != fmt.Sprint(i) {
			t.Fatalf("event %q, error %v; want %d", e.ID, err, i)
		}
		last = id
	}
	return last
}

func TestFollow(t *testing.T) {
	s := newStream()
	record(s, 0, 2) // before anybody follows
	f := follow(t, s, "")
	record(s, 2, 5)
	last := want(t, f, 2, 4)
	want(t, f, 4, 5)
	record(s, 5, 6)
	again := follow(t, s, last)
	want(t, again, 4, 6)
}

// TestMissed: who reads too slowly is told once how much is missing, and goes on with the oldest there is.
func TestMissed(t *testing.T) {
	s := newStream()
	f := follow(t, s, "")
	record(s, 0, 10)
	_, _, err := f.Next(t.Context())
	if missed, ok := errors.AsType[*stream.Missed](err); !ok || missed.Events != 6 {
		t.Errorf("after 10 events of which 4 are kept: %v", err)
	}
	want(t, f, 6, 10)
	for _, last := range []string{"other-3", "run-99", "run", "x", "run--1"} {
		g, err := s.Follow(last)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = g.Next(t.Context())
		if missed, ok := errors.AsType[*stream.Missed](err); !ok || missed.Events != 0 {
			t.Errorf("after %q: %v", last, err)
		}
		want(t, g, 6, 10)
		g.Close()
	}
}

func TestBounds(t *testing.T) {
	s := newStream()
	first, second := follow(t, s, ""), follow(t, s, "")
	if _, err := s.Follow(""); !errors.Is(err, stream.ErrTooMany) {
		t.Errorf("a third follower: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, _, err := first.Next(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("without an event: %v", err)
	}
	record(s, 0, 1)
	s.Close()
	s.Close()
	want(t, second, 0, 1)
	if _, _, err := second.Next(t.Context()); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("at the end: %v", err)
	}
	if _, err := s.Follow(""); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestConcurrently: every follower gets every event, in order, while they are recorded.
func TestConcurrently(t *testing.T) {
	const n, many = 500, 8
	s := stream.New(stream.Options{Run: "run", Keep: n, Followers: many})
	var done sync.WaitGroup
	for range many {
		f := follow(t, s, "")
		done.Go(func() {
			for i := range n {
				if _, e, err := f.Next(t.Context()); err != nil || e.ID != fmt.Sprint(i) {
					t.Errorf("event %q, error %v; want %d", e.ID, err, i)
					return
				}
			}
		})
	}
	record(s, 0, n)
	done.Wait()
}
