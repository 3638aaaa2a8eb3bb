package webhook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// BenchmarkEvents sends events of relayed mail, from Record to the receiver's answer, in batches.
func BenchmarkEvents(b *testing.B) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		requests.Add(1)
	}))
	defer server.Close()
	s := settings(server.URL)
	s.Batch = 100
	e, err := NewEndpoint(s)
	if err != nil {
		b.Fatal(err)
	}
	w := New(Options{Dir: b.TempDir(), Now: time.Now, Busy: func() bool { return true },
		Log: slog.New(slog.DiscardHandler), Tell: func(relay.Event) {},
		Limits: func() Limits { return Limits{Keep: time.Hour, MaxBytes: 256 << 20} }})
	if err := w.Open([]*Endpoint{e}); err != nil {
		b.Fatal(err)
	}
	w.Set([]*Endpoint{e})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx, nil) })
	for len(w.States()) == 0 {
		time.Sleep(time.Millisecond)
	}
	reply := diagnose.ParseReply("250 2.0.0 Ok: queued as 4F\r\n")
	for i := 0; b.Loop(); i++ {
		w.Record(relay.Event{Time: time.Now(), Kind: relay.EventRelayed, ID: fmt.Sprint("06H2FVQMC478Z2E", i),
			MessageID: "<06H2FVQMC478Z2ECYY2KHCP0@relay.shop.example>", From: "app@shop.example",
			To: "ann@x.test", Client: "local", Size: 4096, Lane: "default", Attempt: 1,
			Tried: &relay.Attempt{Time: time.Now(), Stage: diagnose.StageEndOfData, Reply: reply,
				Host: "smtp.x.test", Remote: "192.0.2.1:25", TLS: "TLS1.3", UpstreamID: "4F"}})
	}
	for w.States()[0].Backlog > 0 || w.States()[0].Events < uint64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(requests.Load())/float64(b.N), "requests/op")
	cancel()
	running.Wait()
	w.Close()
}
