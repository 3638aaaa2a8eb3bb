package postgres

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest/postgrestest"
)

// BenchmarkTake: what a Take costs, of one member alone and of eight that ask for the same account as fast as
// they can. A real member asks at most once a second while nothing changes.
func BenchmarkTake(b *testing.B) {
	url := postgrestest.Database(b)
	for _, members := range []int{1, 8} {
		for _, exact := range []bool{false, true} {
			b.Run(fmt.Sprintf("members=%d/exact=%v", members, exact), func(b *testing.B) {
				var all []*Cluster
				for range members {
					c, err := Open(b.Context(), options(url))
					if err != nil {
						b.Fatal(err)
					}
					defer c.Close()
					all = append(all, c)
				}
				q := relay.ShareQuery{Account: fmt.Sprint(b.Name(), b.N), Connections: 16, Messages: 1000,
					Per: time.Second, Exact: exact, Wanted: 2, Ask: 1}
				b.ResetTimer()
				begun := time.Now()
				var works sync.WaitGroup
				for i, c := range all {
					works.Go(func() {
						for n := i; n < b.N; n += members {
							if _, err := c.Take(b.Context(), q); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				works.Wait()
				took := time.Since(begun)
				b.ReportMetric(float64(b.N)/took.Seconds(), "takes/s")
				b.ReportMetric(float64(members)*took.Seconds()*1000/float64(b.N), "ms/take")
			})
		}
	}
}
