package lane

import (
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// testPolicy is like the policy of a relay with the default configuration.
func testPolicy() Policy {
	return Policy{
		Schedule: []time.Duration{
			time.Minute, 5 * time.Minute, 5 * time.Minute, 30 * time.Minute,
			time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, 4 * time.Hour,
		},
		Expiry:     5 * 24 * time.Hour,
		Jitter:     0.1,
		RetryAfter: Bounds{Min: time.Second, Max: 4 * time.Hour},
		DelayAfter: 4 * time.Hour,
		Collect:    5 * time.Second,
	}
}

// TestRuled is the table of what a policy does to a recipient, and where it has no say: the reply decides
// then.
func TestRuled(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	p := testPolicy()
	about := func(s diagnose.Scope) *diagnose.Diagnosis {
		return &diagnose.Diagnosis{Category: diagnose.Blocked, Scope: s}
	}
	said := func(stage diagnose.Stage, reply string) relay.Attempt {
		return relay.Attempt{Stage: stage, Reply: diagnose.ParseReply(reply)}
	}
	refused := said(diagnose.StageRcpt, "550 5.7.1 no")
	later := said(diagnose.StageRcpt, "450 4.7.1 not now")
	lost := relay.Attempt{Stage: diagnose.StageData, NetErr: diagnose.NetErr{Kind: diagnose.NetReset}}
	doubtful := relay.Attempt{Stage: diagnose.StageEndOfData, Uncertain: true,
		NetErr: diagnose.NetErr{Kind: diagnose.NetReset}}
	retry := Ruling{Action: ActionRetry, Schedule: []time.Duration{10 * time.Minute, 20 * time.Minute}}
	tests := []struct {
		name    string
		by      Ruling
		attempt relay.Attempt
		scope   diagnose.Scope
		tried   int
		age     time.Duration
		report  bool
		decides bool
		state   relay.State
		wait    time.Duration // of a deferral
	}{
		{name: "retry a 5yz", by: retry, attempt: refused, decides: true, state: relay.Deferred,
			wait: 10 * time.Minute},
		{name: "retry by the schedule's next step", by: retry, attempt: refused, tried: 1, decides: true,
			state: relay.Deferred, wait: 20 * time.Minute},
		{name: "after the schedule the reply decides", by: retry, attempt: refused, tried: 2},
		{name: "retry a 4yz", by: retry, attempt: later, decides: true, state: relay.Deferred,
			wait: 10 * time.Minute},
		{name: "never beyond expiry", by: retry, attempt: refused, age: 5*24*time.Hour - time.Minute,
			decides: true, state: relay.Deferred, wait: time.Minute},
		{name: "at expiry the reply decides", by: retry, attempt: refused, age: 5 * 24 * time.Hour},
		{name: "fail a 4yz", by: Ruling{Action: ActionFail}, attempt: later, scope: diagnose.ScopeRecipient,
			decides: true, state: relay.Failed},
		{name: "nothing fails for our account", by: Ruling{Action: ActionFail}, attempt: later,
			scope: diagnose.ScopeUpstream},
		{name: "nothing fails for silence", by: Ruling{Action: ActionFail}, attempt: lost},
		{name: "nothing is decided of what may have been taken", by: Ruling{Action: ActionHold},
			attempt: doubtful},
		{name: "nor of a report of ours", by: Ruling{Action: ActionFail}, attempt: refused, report: true},
		{name: "nor before MAIL", by: Ruling{Action: ActionHold},
			attempt: said(diagnose.StageAuth, "535 5.7.8 no")},
		{name: "hold", by: Ruling{Action: ActionHold, Policy: "look"}, attempt: refused, decides: true,
			state: relay.Held},
		{name: "route", by: Ruling{Action: ActionRoute, Upstream: "second"}, attempt: refused, decides: true,
			state: relay.Deferred},
		{name: "routed there already", by: Ruling{Action: ActionRoute, Upstream: "default"},
			attempt: refused},
		{name: "pause, and try after it", by: Ruling{Action: ActionPause, For: time.Hour}, attempt: refused,
			decides: true, state: relay.Deferred, wait: time.Hour + time.Minute},
		{name: "slow leaves the fate to the reply", by: Ruling{Action: ActionSlow}, attempt: refused,
			decides: true, state: relay.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &relay.Message{Lane: "default", Arrived: now.Add(-tt.age), Report: tt.report}
			r := &relay.Recipient{Attempts: tt.tried, State: relay.Queued}
			got, decides := ruled(&p, now, m, r, &tt.attempt, about(tt.scope), &tt.by, 0.5)
			if decides != tt.decides || got.State != tt.state {
				t.Fatalf("decides %v: %+v; want %v, %s", decides, got, tt.decides, tt.state)
			}
			if decides && got.By != &tt.by {
				t.Error("it does not say which policy decided")
			}
			if wait := got.Next.Sub(now); tt.state == relay.Deferred && wait != tt.wait {
				t.Errorf("waits %v, want %v", wait, tt.wait)
			}
			if tt.state == relay.Held && !strings.HasPrefix(got.HeldWhy, "policy look: ") {
				t.Errorf("held because %q", got.HeldWhy)
			}
		})
	}
}

// TestOrderedRate: less is sent for as long as a policy orders it, never more than configured.
func TestOrderedRate(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	minute := func(n int) Rate { return Rate{Messages: n, Per: time.Minute} }
	o := ordered{by: &Ruling{Rate: minute(10)}, since: now, until: now.Add(time.Hour)}
	for _, tt := range []struct {
		at         time.Duration
		configured Rate
		want       Rate
	}{
		{0, Rate{}, minute(10)}, {59 * time.Minute, minute(60), minute(10)}, {0, minute(5), minute(5)},
		{time.Hour, minute(60), minute(60)}, {0, minute(60), minute(60)},
	} {
		if got := o.limit(now.Add(tt.at), tt.configured); got != tt.want {
			t.Errorf("after %v, configured %v: %v, want %v", tt.at, tt.configured, got, tt.want)
		}
	}
}
