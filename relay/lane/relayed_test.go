package lane

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// TestRelayedIsTold: after a settlement the lane tells of a message that the upstream took, or may have, for
// one of the recipients that were offered; and of no other.
func TestRelayedIsTold(t *testing.T) {
	took := relay.Attempt{Stage: diagnose.StageEndOfData, Reply: diagnose.ParseReply("250 2.0.0 ok id=7\r\n"),
		UpstreamID: "7"}
	refused := relay.Attempt{Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply("550 5.1.1 no\r\n")}
	lost := relay.Attempt{Stage: diagnose.StageEndOfData, Uncertain: true,
		NetErr: diagnose.NetErr{Kind: diagnose.NetReset}}
	for _, tt := range []struct {
		name     string
		attempts []relay.Attempt
		told     bool
	}{
		{"one of two", []relay.Attempt{refused, took}, true},
		{"uncertain", []relay.Attempt{lost, lost}, true},
		{"refused", []relay.Attempt{refused, refused}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			stop := b.run(t)
			stop() // the lane is worked by hand
			var told []*relay.Message
			settled := 0
			b.lane.o.Relayed = func(m *relay.Message) {
				told, settled = append(told, m), b.spool.settled
			}
			id := b.put("app@example.com", "a@example.net", "b@example.net")
			leases, _, err := b.spool.Lease(context.Background(),
				relay.LeaseQuery{Lane: "default", Now: time.Now().Add(time.Hour), Max: 1, For: time.Minute})
			if err != nil || len(leases) != 1 {
				t.Fatalf("leased %v, %v", leases, err)
			}
			b.lane.o.Log = slog.New(slog.DiscardHandler)
			b.lane.take(&leases[0], b.now())
			b.lane.conclude(<-b.lane.work, relay.Result{Attempts: tt.attempts})
			if !tt.told {
				if len(told) != 0 {
					t.Errorf("told of %+v", told[0])
				}
				return
			}
			if len(told) != 1 || told[0].ID != id || settled != 1 {
				t.Fatalf("told of %d messages after %d settlements, want one", len(told), settled)
			}
			last := told[0].Recipients[1]
			if last.Last == nil || last.Last.UpstreamID != tt.attempts[1].UpstreamID {
				t.Errorf("told of %+v, want the new state", last)
			}
			if took := strings.HasPrefix(tt.name, "one"); (last.State == relay.Relayed) != took {
				t.Errorf("the second recipient is %s", last.State)
			}
		})
	}
}
