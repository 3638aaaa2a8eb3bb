package memory

import (
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/cluster/clustertest"
)

func TestCoordination(t *testing.T) {
	clustertest.Run(t, func(*testing.T) clustertest.Engine {
		e := New(time.Second)
		return clustertest.Engine{
			DeadAfter: time.Second,
			Join:      func() relay.Coordination { return e.Join("host", "test") },
			Cut:       func(c relay.Coordination, away bool) { c.(*Member).Cut(away) },
		}
	})
}
