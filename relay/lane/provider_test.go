package lane

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/preset"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
	"mailwhy/relay/upstream"
)

// metered is what a provider counts: messages in any 60 seconds and sessions at once.
type metered struct {
	mu      sync.Mutex
	at      diagnose.Stage // at which a message is counted
	seed    *rand.Rand
	slow    time.Duration // the longest an answer takes
	taken   []time.Time
	over    int // messages above the limit
	crowded int // sessions above the limit
	open    map[int]bool
}

// script is asked before the imitation. It takes its time for each answer, and counts.
func (m *metered) script(cmd smtptest.Command) smtptest.Action {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[cmd.Session] = true
	if len(m.open) > 3 {
		m.crowded++
		return smtptest.Action{Reply: "432 4.3.2 Concurrent connections limit exceeded"}
	}
	wait := time.Duration(m.seed.Int64N(int64(m.slow)))
	if cmd.Stage == diagnose.StageEndOfData && m.seed.IntN(20) == 0 {
		wait *= 4
	}
	m.mu.Unlock()
	time.Sleep(wait)
	m.mu.Lock()
	if cmd.Stage != m.at {
		return smtptest.Action{}
	}
	now := time.Now()
	if n := len(m.taken); n >= 30 && now.Sub(m.taken[n-30]) < time.Minute {
		m.over++
		return smtptest.Action{Reply: "432 4.3.2 Submission rate limit exceeded"}
	}
	m.taken = append(m.taken, now)
	return smtptest.Action{}
}

// ended forgets a session.
func (m *metered) ended(session int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open, session)
}

// microsoft starts the imitation of Microsoft 365 with a meter, in memory, and a pool for it.
func microsoft(t *testing.T, m *metered) *upstream.Pool {
	t.Helper()
	return microsofts(t, m, 1)[0]
}

// microsofts starts the imitation of Microsoft 365 with a meter, in memory, and n pools for it.
func microsofts(t *testing.T, m *metered, n int) (pools []*upstream.Pool) {
	t.Helper()
	i, err := imitation.ByName("m365")
	if err != nil {
		t.Fatal(err)
	}
	ln := smtptest.NewPipes()
	o, err := i.Options(smtptest.Options{Listener: ln, Script: m.script, Ended: m.ended},
		imitation.Settings{Users: map[string]string{"u@a.test": "p"}})
	if err != nil {
		t.Fatal(err)
	}
	smtptest.New(t, o)
	for range n {
		pools = append(pools, microsoftPool(t, ln))
	}
	return pools
}

// microsoftPool makes a pool for the imitation that listens there.
func microsoftPool(t *testing.T, ln *smtptest.Pipes) *upstream.Pool {
	t.Helper()
	second := time.Second
	pool, err := upstream.New(upstream.Options{
		Name: "m365", Host: "127.0.0.1", Port: 587, Hello: "client.test",
		TLS: upstream.TLS{Mode: upstream.TLSRequired, NoVerify: true, MinVersion: tls.VersionTLS12},
		Auth: &upstream.Credentials{Username: "u@a.test",
			Password: func() (string, error) { return "p", nil }, Mechanisms: []string{"XOAUTH2", "LOGIN"}},
		MaxMessages: 100, MaxIdle: time.Minute, MaxAge: 15 * time.Minute, RcptMax: 500,
		Grace: second, Dial: ln.Dial,
		Timeouts: upstream.Timeouts{Connect: 60 * second, Greeting: 60 * second, Command: 60 * second,
			Data: 60 * second, Write: 60 * second, EndOfData: 60 * second},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

// TestLimitsOfMicrosoft: with 500 messages waiting, the real exchange with an imitation of Microsoft 365 uses
// at least 95 % of 30 messages a minute, without one message too many in any 60 seconds, nor a fourth
// connection, wherever in the exchange the provider counts, and however slow it is.
func TestLimitsOfMicrosoft(t *testing.T) {
	const messages, allowed = 500, 30
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	limits := set.ByName("m365").Limits
	for _, at := range []diagnose.Stage{diagnose.StageMail, diagnose.StageEndOfData} {
		for _, ms := range []time.Duration{1, 300, 700} {
			slow := ms * time.Millisecond
			t.Run(fmt.Sprint(at, " ", slow), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := &metered{
						at: at, slow: slow, seed: rand.New(rand.NewPCG(1, 2)), open: map[int]bool{},
					}
					b := engineBench(t)
					b.real = microsoft(t, m)
					b.settings.Concurrency = limits.Connections.Value
					most := limits.Rate.Value
					b.settings.Rate = Rate{Messages: most.Messages, Per: time.Duration(most.Per)}
					for n := range messages {
						b.put(fmt.Sprintf("s%d@a.test", n%7), fmt.Sprintf("r%d@b.test", n))
					}
					began := time.Now()
					stop := b.run(t)
					defer stop()
					for b.spool.states()[relay.Relayed] < messages && time.Since(began) < time.Hour {
						pass(time.Second)
					}
					took := time.Since(began)
					rate := messages / took.Minutes()
					t.Logf("%.2f messages a minute, %.1f %% of what is allowed", rate, 100*rate/allowed)
					if rate < 0.95*allowed {
						t.Errorf("%.2f messages a minute, want 95 %% of %d", rate, allowed)
					}
					if m.over > 0 || m.crowded > 0 || b.log.count(relay.EventDeferred) > 0 {
						t.Errorf("%d above the rate, %d above 3 connections, %d deferrals", m.over, m.crowded,
							b.log.count(relay.EventDeferred))
					}
				})
			})
		}
	}
}
