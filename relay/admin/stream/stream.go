// Package stream lets programs follow the relay's events as they happen. It is a recorder that keeps the
// newest events in a ring; each follower reads the ring at its own pace.
//
// What always holds: Record takes no longer than a copy and never waits for a follower, so that nobody who
// reads slowly slows the mail; memory is bounded by the ring, whatever the number of followers; a follower
// gets the events in their order, each once, and is told when it missed some.
package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"mailwhy/relay"
)

// ErrTooMany says that there are as many followers as there may be.
var ErrTooMany = errors.New("too many follow the events already")

// ErrClosed says that the relay is stopping.
var ErrClosed = errors.New("the relay is stopping")

// Options are what a Stream is made of. All are required.
type Options struct {
	Run       string // names this run of the relay: positions of another mean nothing here
	Keep      int    // events in the ring
	Followers int    // at most
}

// Stream is a relay.Recorder that can be followed. It is safe for concurrent use.
type Stream struct {
	o Options

	mu        sync.Mutex
	ring      []relay.Event // grows to Keep: a relay that idles needs none
	next      uint64        // number of the next event; the ring has those before it
	changed   chan struct{} // closed at the next event
	followers int
	closed    bool
}

// New makes a Stream.
func New(o Options) *Stream {
	return &Stream{o: o, changed: make(chan struct{})}
}

// Record implements relay.Recorder.
func (s *Stream) Record(e relay.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ring) < s.o.Keep {
		s.ring = append(s.ring, e)
	} else {
		s.ring[s.next%uint64(len(s.ring))] = e
	}
	s.next++
	if s.followers > 0 {
		s.wake()
	}
}

// wake tells all followers that wait. s.mu is held.
func (s *Stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close ends all followers, which then get ErrClosed, and lets no more come.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.wake()
	}
}

// Follower reads the events. It is for one goroutine, which must Close it.
type Follower struct {
	s    *Stream
	at   uint64
	lost bool // events may be missing, and nobody knows how many
}

// Follow begins behind the event with the id last, or with the next event that happens when last is empty; if
// last is not of this run, with the oldest event that there is.
func (s *Stream) Follow(last string) (*Follower, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.followers == s.o.Followers:
		return nil, ErrTooMany
	}
	f := &Follower{s: s, at: s.next}
	if n, ok := s.number(last); ok {
		f.at = n + 1
	} else if last != "" {
		f.at, f.lost = s.oldest(), true
	}
	s.followers++
	return f, nil
}

// oldest is the number of the oldest event in the ring. s.mu is held.
func (s *Stream) oldest() uint64 { return s.next - min(s.next, uint64(len(s.ring))) }

// number is the number of the event with this id; ok is false if it is none of this run's.
func (s *Stream) number(id string) (n uint64, ok bool) {
	run, text, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && run == s.o.Run && n < s.next
}

// Close lets the follower go.
func (f *Follower) Close() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.s.followers--
}

// Missed is an error of Next: events were overwritten before the follower read them.
type Missed struct {
	Events uint64 // how many; 0: it is not known
}

// Error implements error.
func (m *Missed) Error() string {
	if m.Events == 0 {
		return "events may be missing: the id is not of this run of the relay"
	}
	return fmt.Sprintf("%d events are missing: they were read too slowly", m.Events)
}

// Next waits for the next event and returns it with its id. Its errors are ErrClosed, the context's, and a
// *Missed, once, after which it goes on with the oldest event that there still is.
func (f *Follower) Next(ctx context.Context) (id string, e relay.Event, err error) {
	for {
		id, e, wait, err := f.look()
		if wait == nil || err != nil {
			return id, e, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return "", relay.Event{}, ctx.Err()
		}
	}
}

// look returns the next event, or what tells that there is one.
func (f *Follower) look() (id string, e relay.Event, wait <-chan struct{}, err error) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.lost {
		f.lost = false
		return "", e, nil, &Missed{}
	}
	if oldest := s.oldest(); f.at < oldest {
		missed := oldest - f.at
		f.at = oldest
		return "", e, nil, &Missed{missed}
	}
	switch {
	case f.at < s.next:
		f.at++
		return s.o.Run + "-" + strconv.FormatUint(f.at-1, 10), s.ring[(f.at-1)%uint64(len(s.ring))], nil, nil
	case s.closed:
		return "", e, nil, ErrClosed
	}
	return "", e, s.changed, nil
}
