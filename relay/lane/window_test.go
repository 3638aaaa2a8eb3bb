package lane

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay"
)

// TestRateAfterOutages: what was leased and given back because the upstream was out of reach counts for
// nothing, so that all of the rate is there when it is back.
func TestRateAfterOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Rate, b.settings.Concurrency = Rate{Messages: 20, Per: time.Minute}, 2
		b.upstream.delay = 10 * time.Second // so that leased messages wait for a connection
		var down atomic.Bool
		b.upstream.fault = func() *relay.Attempt {
			if down.Load() {
				return connectFault()
			}
			return nil
		}
		for n := range 500 {
			b.put("a@example.com", fmt.Sprintf("r%d@example.net", n))
		}
		stop := b.run(t)
		defer stop()
		for range 30 {
			pass(30 * time.Second)
			down.Store(true)
			pass(30 * time.Second)
			down.Store(false)
			b.lane.Probe()
		}
		before := b.spool.states()[relay.Relayed]
		pass(4 * time.Minute)
		if n := b.spool.states()[relay.Relayed] - before; n < 46 || n > 49 {
			t.Errorf("%d messages in four minutes over two connections, want 48", n)
		}
	})
}
