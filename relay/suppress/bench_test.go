package suppress

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// listOf is a list with n entries.
func listOf(b *testing.B, n int) *List {
	b.Helper()
	set := Settings{Mode: Enforce, TTL: []time.Duration{7 * day}, Most: 1e7, Breaker: Breaker{Share: 2}}
	l, err := Open(Options{
		Path: filepath.Join(b.TempDir(), "suppressions.db"), Settings: func() Settings { return set },
		FoldCase: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	for i := 0; i < n; i += 5000 {
		var entries []relay.Suppression
		for j := i; j < min(n, i+5000); j++ {
			entries = append(entries, relay.Suppression{Address: fmt.Sprintf("a%d@dead.example", j),
				Reply: "550 5.1.1 The email account that you tried to reach does not exist\r\n"})
		}
		if _, err := l.Put(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// BenchmarkCheck: what a check costs, for mail to those who are not on the list and to those who are.
func BenchmarkCheck(b *testing.B) {
	l := listOf(b, 100_000)
	now := time.Now()
	b.Run("not listed", func(b *testing.B) {
		for b.Loop() {
			l.Check("app@shop.example", "jane@live.example", now)
		}
	})
	b.Run("listed", func(b *testing.B) {
		for b.Loop() {
			if l.Check("app@shop.example", "a500@dead.example", now).Entry == nil {
				b.Fatal("not suppressed")
			}
		}
	})
}

// BenchmarkRecord: what each relayed message costs.
func BenchmarkRecord(b *testing.B) {
	l := listOf(b, 1000)
	e := relay.Event{Time: time.Now(), Kind: relay.EventRelayed, From: "app@shop.example",
		To: "jane@live.example", Lane: "default", Tried: &relay.Attempt{Stage: diagnose.StageEndOfData}}
	for b.Loop() {
		l.Record(e)
	}
}

// BenchmarkMemory: how much an entry takes in memory.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 200_000
	l := listOf(b, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/entry")
	runtime.KeepAlive(l)
}
