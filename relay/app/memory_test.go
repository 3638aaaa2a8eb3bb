package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/smtptest"
)

// live is the memory of all objects that are in use.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first may leave what has finalizers
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// memoryOf is what a running relay holds that has so many upstreams, with 1,000 sender domains each if it has
// several. One mail has gone through each.
func memoryOf(t *testing.T, upstreams int) int64 {
	t.Helper()
	server := smtptest.New(t, smtptest.Options{Forget: true})
	l := &twoLanes{door: &door{t: t, dir: t.TempDir(), logged: &smtptest.Buffer{}}}
	servers := map[string]*smtptest.Server{}
	for n := range upstreams {
		servers[fmt.Sprintf("up%d", n)] = server
	}
	before := live()
	l.conf = l.withUpstreams(servers)
	if upstreams > 1 {
		l.conf.Route = nil
		for n := range upstreams {
			name := fmt.Sprintf("up%d", n)
			domains := []string{"client.test"}
			var senders []string
			for d := range 1000 {
				domains = append(domains, fmt.Sprintf("d%d-%d.example", n, d))
				senders = append(senders, "@"+domains[len(domains)-1])
			}
			l.conf.Upstream[name].Domains = domains
			l.conf.Route = append(l.conf.Route,
				config.Route{Name: name, Senders: senders, Upstreams: []string{name}},
				config.Route{Name: name + " by domain", Recipients: []string{"@" + name + ".test"},
					Upstreams: []string{name}})
		}
		l.conf.Route = append(l.conf.Route, config.Route{Name: "rest", Upstreams: []string{"up0"}})
	}
	var err error
	o := Options{Config: l.conf, Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)}
	if l.app, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.app.Run(ctx) })
	defer running.Wait()
	defer cancel()
	<-l.app.Ready()
	for n := range upstreams {
		l.send(fmt.Sprintf("joe@up%d.test", n))
	}
	smtptest.WaitFor(t, "the mail to be relayed", func() bool {
		return server.Stats().Messages == int64(upstreams)
	})
	l.settled()
	return live() - before
}

// TestMemoryOfUpstreams: ten upstreams with 10,000 sender domains cost less than a megabyte each beyond what
// one costs.
func TestMemoryOfUpstreams(t *testing.T) {
	one, ten := memoryOf(t, 1), memoryOf(t, 10)
	each := (ten - one) / 9
	t.Logf("one upstream %d KiB, ten %d KiB: %d KiB each", one>>10, ten>>10, each>>10)
	if each > 1<<20 {
		t.Errorf("each further upstream takes %d KiB, want at most 1 MiB", each>>10)
	}
}
