package lane

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// TestPaceRecoversFromABurst has an upstream that answers 421 for four seconds and is well then.
func TestPaceRecoversFromABurst(t *testing.T) {
	for _, stage := range []diagnose.Stage{diagnose.StageMail, diagnose.StageRcpt} {
		for _, before := range []int{0, 30} { // messages a second apart, before
			t.Run(fmt.Sprint(stage, " after ", before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := engineBench(t)
					var ill atomic.Bool
					b.refuse(stage, "421 4.3.2 Service not available\r\n",
						func(string, string) bool { return ill.Load() })
					b.settings.Policy.Schedule = []time.Duration{time.Second}
					stop := b.run(t)
					defer stop()
					for i := range before {
						b.put("a@example.com", fmt.Sprintf("b%d@example.net", i))
						pass(time.Second)
					}
					ill.Store(true)
					for i := range 20 {
						b.put(fmt.Sprintf("s%d@example.com", i), fmt.Sprintf("r%d@example.net", i))
						pass(200 * time.Millisecond)
					}
					ill.Store(false)
					start := time.Now()
					for b.spool.states()[relay.Relayed] < before+20 && time.Since(start) < time.Minute {
						pass(100 * time.Millisecond)
					}
					t.Logf("20 messages were relayed %v after the upstream was well", time.Since(start))
					if took := time.Since(start); took > 6*time.Second {
						t.Errorf("20 messages took %v once the upstream was well, want a few seconds", took)
					}
				})
			})
		}
	}
}

// TestPaceHoldsAMinuteLimit has an upstream that takes 30 messages a minute, as Microsoft 365 does, by a
// bucket that fills evenly and by whole minutes.
func TestPaceHoldsAMinuteLimit(t *testing.T) {
	const allowed, minutes = 30, 20
	tokens := map[string]func(now, last time.Time, have float64) float64{
		"bucket": func(now, last time.Time, have float64) float64 {
			return min(5, have+now.Sub(last).Minutes()*allowed)
		},
		"minutes": func(now, last time.Time, have float64) float64 {
			if now.Truncate(time.Minute) != last.Truncate(time.Minute) {
				return allowed
			}
			return have
		},
	}
	for name, fill := range tokens {
		for stage, reply := range map[diagnose.Stage]string{
			diagnose.StageMail:      "451 4.7.0 Message submission rate exceeded\r\n",
			diagnose.StageEndOfData: sesThrottled,
		} {
			t.Run(fmt.Sprint(name, " at ", stage), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := engineBench(t)
					b.upstream.stage = stage
					have, last := 0.0, time.Time{}
					count, refused := 0, 0
					b.upstream.answer = func(*relay.Transaction, int) diagnose.Reply {
						now := time.Now()
						have = fill(now, last, have)
						last = now
						if have < 1 {
							refused++
							return diagnose.ParseReply(reply)
						}
						have--
						count++
						return diagnose.ParseReply(taken)
					}
					for i := range 1200 {
						sender, domain := "noreply@example.com", "large.example"
						if i%20 == 0 {
							sender, domain = "other@example.com", "small.example"
						}
						b.put(sender, fmt.Sprintf("r%d@%s", i, domain))
					}
					stop := b.run(t)
					defer stop()
					pass(10 * time.Minute)
					b.upstream.mu.Lock() // as answer runs
					early := refused
					count, refused = 0, 0
					b.upstream.mu.Unlock()
					pass(minutes * time.Minute)
					t.Logf("%d refused in the first 10 minutes; then %.1f taken and %.1f refused a minute",
						early, float64(count)/minutes, float64(refused)/minutes)
					if float64(count)/minutes < 0.9*allowed {
						t.Errorf("%.1f messages a minute, want 90 %% of %d", float64(count)/minutes, allowed)
					}
					if float64(refused)/minutes > 5 {
						t.Errorf("%.1f refusals a minute, want a few", float64(refused)/minutes)
					}
				})
			})
		}
	}
}
