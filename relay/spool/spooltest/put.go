package spooltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"mailwhy/relay"
)

func keepsEverything(t *testing.T, s relay.Spool) {
	want := fullMessage()
	put(t, s, want, "From: a\r\n\r\nbody\r\n")
	if want.Size != 17 {
		t.Errorf("Put set Size to %d, want 17", want.Size)
	}
	l := leaseOne(t, s)
	equal(t, l.Message, want)
	l.Message.Recipients[0] = fullRecipient()
	l.Message.Recipients[0].NextAttempt = time.Now()
	settle(t, s, l)
	want.Recipients[0] = l.Message.Recipients[0]
	equal(t, leaseOne(t, s).Message, want)
}

func putTwice(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "first")
	put(t, s, m, "second")
	leaseOne(t, s)
	if got := read(t, s, m.ID); got != "first" {
		t.Errorf("content %q, want the first one", got)
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Errorf("a second lease gave %d messages", len(ls))
	}
}

func putAfterSettled(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "content")
	l := leaseOne(t, s)
	all(l.Message, relay.Relayed, time.Time{})
	settle(t, s, l)
	put(t, s, m, "content")
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a message that has gone was stored again")
	}
}

func putReaderFails(t *testing.T, s relay.Spool) {
	// The second is what a reader says whose client is gone, and no end of the content either.
	for _, broken := range []error{errors.New("the client went away"), io.ErrUnexpectedEOF} {
		for _, size := range []int{0, 10, 200 << 10, 5 << 20} {
			r := io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(broken))
			if err := s.Put(t.Context(), []*relay.Message{message()}, r); !errors.Is(err, broken) {
				t.Errorf("after %d bytes: %v, want %v", size, err, broken)
			}
		}
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Errorf("%d messages were stored", len(ls))
	}
}

func putCancelled(t *testing.T, s relay.Spool) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := message()
	err := s.Put(ctx, []*relay.Message{m}, bytes.NewReader(nil))
	if stored := len(lease(t, s, 10)) == 1; stored != (err == nil) {
		t.Errorf("Put returned %v, and stored is %v", err, stored)
	}
}

func contents(t *testing.T, s relay.Spool) {
	for _, size := range []int{0, 1, 4096, 256 << 10, 256<<10 + 1, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(i*7 + i>>8)
			}
			m := message()
			put(t, s, m, string(b))
			if m.Size != int64(size) {
				t.Errorf("Size %d, want %d", m.Size, size)
			}
			for range 2 {
				if got := read(t, s, m.ID); got != string(b) {
					t.Errorf("the content of %d bytes came back as %d other ones", size, len(got))
				}
			}
		})
	}
	if _, err := s.Content(t.Context(), relay.NewID(time.Now())); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("content of a message that is not there: %v", err)
	}
}
