package recall

import (
	"fmt"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// BenchmarkAppend journals reports from many callers, who share commits.
func BenchmarkAppend(b *testing.B) {
	box := newBox(b)
	box.limits.MaxReports, box.limits.MaxBytes = 1e9, 1<<40
	body := make([]byte, 2000)
	b.SetParallelism(64)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		raw := &feedback.Raw{Source: "hook", Provider: "ses", Time: begins, Body: body}
		for pb.Next() {
			if err := box.Append(b.Context(), raw); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRelayed is what a lane waits for when it tells of a message.
func BenchmarkRelayed(b *testing.B) {
	box := newBox(b)
	m := mail(1, begins, "someone@there.example")
	b.ReportAllocs()
	for b.Loop() {
		box.Relayed(m)
		box.buffer.mu.Lock() // nothing is written here
		box.buffer.list, box.buffer.bytes = box.buffer.list[:0], 0
		box.buffer.mu.Unlock()
	}
}

// BenchmarkRemember writes messages that were told, in batches of a thousand: one operation is a message. The
// table has the messages of a busy day.
func BenchmarkRemember(b *testing.B) {
	box := newBox(b)
	box.limits.MaxMessages = 1e9
	at := func(i int) time.Time { return begins.Add(time.Duration(i) * time.Millisecond) }
	n := 0
	write := func(count int) {
		for count > 0 {
			list := make([]remembered, 0, flushMost)
			for range min(count, flushMost) {
				n++
				m := mail(n, at(n), fmt.Sprintf("user%d@there%d.example", n, n%1000))
				m.ID = relay.NewID(at(n))
				list = append(list, rememberedOf(m, begins))
			}
			count -= len(list)
			err := box.w.write(b.Context(), func(t *tx) error { return t.rememberAll(list) })
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	write(100_000)
	b.ResetTimer()
	write(b.N)
}
