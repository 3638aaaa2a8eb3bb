package spooltest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
)

// releaser is a spool with the add-on of that name.
type releaser interface {
	relay.Spool
	relay.Releaser
}

func release(t *testing.T, s releaser) {
	put(t, s, message(), "x")
	l := leaseOne(t, s)
	if err := s.Release(l.Token); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(l.Token); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("a second Release: %v", err)
	}
	equal(t, leaseOne(t, s).Message, l.Message)
}

// admitter is a spool with the add-on of that name.
type admitter interface {
	relay.Spool
	relay.Admitter
}

// admit: an engine with room says so, with messages in it too.
func admit(t *testing.T, s admitter) {
	for range 2 {
		if err := s.Admit(); err != nil {
			t.Error(err)
		}
		put(t, s, message(), "x")
	}
}

// watcher is a spool with the add-on of that name.
type watcher interface {
	relay.Spool
	relay.Watcher
}

// watch: the lane to which a message is moved hears of it, until the watch is stopped.
func watch(t *testing.T, s watcher) {
	heard := make(chan string, 100)
	stop := s.Watch(func(lane string) { heard <- lane })
	stop = sync.OnceFunc(stop)
	defer stop()
	moveOne := func() {
		put(t, s, message(), "x")
		l := leaseOne(t, s)
		err := s.Settle(t.Context(), l.Token,
			relay.Settlement{Recipients: l.Message.Recipients, Lane: "backup"})
		if err != nil {
			t.Fatal(err)
		}
	}
	moveOne()
	for end := time.After(10 * time.Second); ; {
		select {
		case got := <-heard:
			if got != "backup" {
				continue
			}
		case <-end:
			t.Error("nobody was told of the message that was moved")
		}
		break
	}
	stop()
	for len(heard) > 0 {
		<-heard
	}
	moveOne()
	if n := len(heard); n != 0 {
		t.Errorf("after stop %d more calls", n)
	}
}
