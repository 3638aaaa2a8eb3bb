package postgres

import (
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/cluster/clustertest"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
)

// options are those of a member in tests.
func options(url string) Options {
	return Options{URL: url, Name: "mail", Connections: 4, Host: "host", Version: "test",
		Heartbeat: 150 * time.Millisecond, DeadAfter: time.Second, Timeout: 20 * time.Second,
		Key: []byte("a key of tests that is long enough for it"), Log: slog.New(slog.DiscardHandler)}
}

// join opens a member that is closed with the test.
func join(t *testing.T, o Options) *Cluster {
	t.Helper()
	c, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// through is the URL of a database by way of a proxy.
func through(t *testing.T, database string) (string, *smtptest.Proxy) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	p := smtptest.NewProxy(t, u.Host)
	u.Host = p.Addr()
	return u.String(), p
}

// away takes the server away from who comes through a proxy, or gives it back.
func away(p *smtptest.Proxy, is bool) {
	if !is {
		p.Damage(smtptest.Faults{}, smtptest.Faults{})
		return
	}
	cut := smtptest.Faults{Cut: &smtptest.Cut{End: smtptest.EndReset}}
	p.Damage(cut, cut)
	p.End(smtptest.EndReset)
}

func TestCoordination(t *testing.T) {
	clustertest.Run(t, func(t *testing.T) clustertest.Engine {
		database := postgrestest.Database(t)
		var mu sync.Mutex
		proxies := map[relay.Coordination]*smtptest.Proxy{}
		return clustertest.Engine{
			DeadAfter: time.Second,
			Join: func() relay.Coordination {
				u, p := through(t, database)
				c := join(t, options(u))
				mu.Lock()
				defer mu.Unlock()
				proxies[c] = p
				return c
			},
			Cut: func(c relay.Coordination, is bool) {
				mu.Lock()
				defer mu.Unlock()
				away(proxies[c], is)
			},
		}
	})
}
