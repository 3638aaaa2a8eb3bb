package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// some are n events, the first of them with this number.
func some(first, n int) (events []Event) {
	for i := range n {
		id := fmt.Sprint("e", first+i)
		events = append(events, Event{ID: id, Type: "message.failed", Kind: "failed", Category: "Blocked",
			Client: "shop", User: "app", Order: "M1", Time: time.Unix(1, int64(first+i)),
			Data: []byte(`{"id":"` + id + `"}`)})
	}
	return events
}

// open opens a log with small segments.
func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// read reads everything from a place on.
func read(t *testing.T, l *Log, from Pos) (all []Stored, skipped int64) {
	t.Helper()
	for {
		events, next, s, err := l.Read(from)
		if err != nil {
			t.Fatal(err)
		}
		if skipped += s; next == from {
			return all, skipped
		}
		all, from = append(all, events...), next
	}
}

// ids are those of events.
func ids(events []Stored) (list []string) {
	for _, e := range events {
		list = append(list, e.ID)
	}
	return list
}

// want are the ids of events from one number up to another.
func want(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint("e", i))
	}
	return list
}

// TestReadsWhatWasAppended: over segments, from any place, and after a restart, with every field.
func TestReadsWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for i := 0; i < 100; i += 10 {
		if err := l.Append(some(i, 10), i%20 == 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		all, skipped := read(t, l, 0)
		if got := ids(all); !slices.Equal(got, want(0, 100)) || skipped != 0 {
			t.Fatalf("read %v", got)
		}
		if got, _ := read(t, l, all[42].At); !slices.Equal(ids(got), want(42, 100)) {
			t.Errorf("from the middle: %v", ids(got))
		}
		e, first := all[7].Event, some(7, 1)[0]
		if string(e.Data) != string(first.Data) || !e.Time.Equal(first.Time) || e.User != "app" ||
			e.Order != "M1" || e.Category != "Blocked" || e.Client != "shop" || e.Kind != "failed" {
			t.Errorf("event %+v", e)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir)
	}
}

// TestCrashCutsTheEnd: whatever part of the last write a crash leaves is cut off, and the log goes on.
func TestCrashCutsTheEnd(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := l.Append(some(0, 3), true); err != nil {
		t.Fatal(err)
	}
	whole := int64(l.End())
	if err := l.Append(some(3, 1), true); err != nil {
		t.Fatal(err)
	}
	size := int64(l.End())
	l.Close()
	file := filepath.Join(dir, strings.Repeat("0", 20)+suffix)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole; cut < size; cut++ {
		damaged := slices.Clone(text[:cut])
		if cut%2 == 0 {
			damaged = append(damaged, make([]byte, size-cut)...) // the length came first, and no bytes
		}
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir)
		if err := l.Append(some(9, 1), true); err != nil {
			t.Fatal(err)
		}
		if got, _ := read(t, l, 0); !slices.Equal(ids(got), append(want(0, 3), "e9")) {
			t.Fatalf("cut at %d: %v", cut, ids(got))
		}
		l.Close()
	}
}

// TestDamageIsPassedOver: a damaged event costs the rest of its segment, which is said.
func TestDamageIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for i := range 30 {
		if err := l.Append(some(i, 1), false); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := read(t, l, 0)
	_, second, _, _, _ := l.Oldest()
	f, err := os.OpenFile(l.name(0), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("x"), int64(all[2].Next)-2)
	f.Close()
	got, skipped := read(t, l, 0)
	after := slices.IndexFunc(all, func(e Stored) bool { return e.At == second })
	if !slices.Equal(ids(got), append(want(0, 2), want(after, 30)...)) || skipped != int64(second-all[2].At) {
		t.Errorf("read %v, %d bytes skipped", ids(got), skipped)
	}
}

// TestOldestGoes: the oldest segment can be removed, and who was there goes on with the next.
func TestOldestGoes(t *testing.T) {
	l := open(t, t.TempDir())
	for i := range 30 {
		if err := l.Append(some(i, 1), false); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := read(t, l, 0)
	from, to, last, bytes, ok := l.Oldest()
	if from != 0 || to <= 0 || time.Since(last) > time.Minute || bytes != int64(l.End()) || !ok {
		t.Fatalf("the oldest is %d to %d of %d bytes, %v", from, to, bytes, ok)
	}
	if err := l.RemoveOldest(); err != nil {
		t.Fatal(err)
	}
	left, _ := read(t, l, 0)
	if l.Start() != to || len(left) == 0 || left[0].At != to || len(left) >= len(all) {
		t.Errorf("after it: start %d, %v", l.Start(), ids(left))
	}
	for {
		if _, _, _, _, ok := l.Oldest(); !ok {
			break
		}
		if err := l.RemoveOldest(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(some(30, 1), true); err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, ok := l.Oldest(); !ok {
		t.Error("after Rotate there is no older segment")
	}
}

// TestSince: nothing that was appended at a time or later stands before the place.
func TestSince(t *testing.T) {
	l := open(t, t.TempDir())
	if err := l.Append(some(0, 10), false); err != nil {
		t.Fatal(err)
	}
	if at := l.Since(time.Now().Add(-time.Minute)); at != 0 {
		t.Errorf("since a minute: %d", at)
	}
	if at := l.Since(time.Now().Add(time.Minute)); at != l.End() {
		t.Errorf("since a minute from now: %d", at)
	}
}

// FuzzDecode: no bytes make Decode or cut fail, and what is decoded encodes to the same.
func FuzzDecode(f *testing.F) {
	f.Add((&some(0, 1)[0]).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		cut(b)
		e, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Decode(e.Append(nil)); err != nil || again.ID != e.ID ||
			string(again.Data) != string(e.Data) {
			t.Errorf("%+v, then %+v, %v", e, again, err)
		}
	})
}
