package lane

import (
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	policy := testPolicy()
	account := &diagnose.Diagnosis{Scope: diagnose.ScopeUpstream}
	recipient := &diagnose.Diagnosis{Category: diagnose.InvalidAddress, Scope: diagnose.ScopeRecipient}
	throttled := &diagnose.Diagnosis{Category: diagnose.RateLimitIssues, Scope: diagnose.ScopeUpstream}
	after := func(sec int) *diagnose.Diagnosis {
		return &diagnose.Diagnosis{
			Category:   diagnose.RecipientError,
			RetryAfter: diagnose.Seconds(time.Duration(sec) * time.Second),
		}
	}
	said := func(stage diagnose.Stage, reply string) relay.Attempt {
		return relay.Attempt{Stage: stage, Reply: diagnose.ParseReply(reply)}
	}
	lost := func(stage diagnose.Stage, kind diagnose.NetKind, uncertain bool) relay.Attempt {
		return relay.Attempt{Stage: stage, NetErr: diagnose.NetErr{Kind: kind}, Uncertain: uncertain}
	}
	answered := func(stage diagnose.Stage, class int) relay.Attempt {
		return relay.Attempt{Stage: stage, Verdict: class, NetErr: diagnose.NetErr{Kind: diagnose.NetAPI}}
	}
	tests := []struct {
		name    string
		attempt relay.Attempt
		meaning *diagnose.Diagnosis
		age     time.Duration // of the message
		tried   int           // attempts before
		report  bool
		state   relay.State
		wait    time.Duration // of a deferral, without spread
		free    bool          // it uses up no step of the schedule
	}{
		{
			name: "250 at the final dot", attempt: said(diagnose.StageEndOfData, "250 ok"),
			state: relay.Relayed,
		},
		{
			name: "any 2yz at the final dot", attempt: said(diagnose.StageEndOfData, "299"),
			state: relay.Relayed,
		},
		{
			name: "taken by an API", attempt: relay.Attempt{Stage: diagnose.StageEndOfData, Verdict: 2},
			state: relay.Relayed,
		},
		{
			name: "an API's never fails", attempt: answered(diagnose.StageEndOfData, 5),
			meaning: &diagnose.Diagnosis{Scope: diagnose.ScopeMessage}, state: relay.Failed,
		},
		{
			name: "an API's never for our account waits", attempt: answered(diagnose.StageMail, 5),
			meaning: account, state: relay.Deferred, wait: time.Minute,
		},
		{
			name: "an API's not now defers", attempt: answered(diagnose.StageEndOfData, 4),
			meaning: recipient, state: relay.Deferred, wait: time.Minute,
		},
		{
			name: "an API's throttling waits seconds", attempt: answered(diagnose.StageMail, 4),
			meaning: throttled, state: relay.Deferred, wait: 3 * time.Second, free: true,
		},
		{
			name: "5yz fails", attempt: said(diagnose.StageRcpt, "550 5.1.1 no"),
			meaning: recipient, state: relay.Failed,
		},
		{
			name: "4yz defers", attempt: said(diagnose.StageRcpt, "450 4.2.0 no"),
			meaning: recipient, state: relay.Deferred, wait: time.Minute,
		},
		{
			name: "4yz defers whatever it means", attempt: said(diagnose.StageRcpt, "450 5.1.1 user unknown"),
			meaning: recipient, tried: 1, state: relay.Deferred, wait: 5 * time.Minute,
		},
		{
			name: "the schedule's last step repeats", attempt: said(diagnose.StageRcpt, "450 no"),
			meaning: recipient, age: time.Hour, tried: 99, state: relay.Deferred, wait: 4 * time.Hour,
		},
		{
			name: "silence defers", attempt: lost(diagnose.StageData, diagnose.NetReset, false),
			meaning: recipient, state: relay.Deferred, wait: time.Minute,
		},
		{
			name:    "lost after the dot waits longer",
			attempt: lost(diagnose.StageEndOfData, diagnose.NetReset, true),
			meaning: recipient, state: relay.Deferred, wait: 3 * time.Minute,
		},
		{
			name: "expiry", attempt: said(diagnose.StageRcpt, "450 no"),
			meaning: recipient, age: 5 * 24 * time.Hour, tried: 30, state: relay.Expired,
		},
		{
			name: "the last attempt is at expiry", attempt: said(diagnose.StageRcpt, "450 no"),
			meaning: recipient, age: 5*24*time.Hour - time.Minute, tried: 30,
			state: relay.Deferred, wait: time.Minute,
		},
		{
			name: "the account refused at MAIL waits", attempt: said(diagnose.StageMail, "550 5.7.60 no"),
			meaning: account, state: relay.Deferred, wait: time.Minute,
		},
		{
			name:    "the account refused after the content waits",
			attempt: said(diagnose.StageEndOfData, "550 5.7.60 no"),
			meaning: account, state: relay.Deferred, wait: time.Minute,
		},
		{
			name:    "the account refused at expiry is given up",
			attempt: said(diagnose.StageEndOfData, "550 5.7.60 no"),
			meaning: account, age: 5 * 24 * time.Hour, tried: 30, state: relay.Expired,
		},
		{
			name: "throttled steps back", attempt: said(diagnose.StageMail, "454 4.7.0 slow"),
			meaning: throttled, tried: 3, state: relay.Deferred, wait: 3 * time.Second, free: true,
		},
		{
			name: "retry-after is honoured", attempt: said(diagnose.StageRcpt, "450 try in 300 s"),
			meaning: after(300), state: relay.Deferred, wait: 300 * time.Second * 105 / 100,
		},
		{
			name: "retry-after is bounded", attempt: said(diagnose.StageRcpt, "450 try in a year"),
			meaning: after(31536000), state: relay.Deferred, wait: 4 * time.Hour * 105 / 100,
		},
		{
			name: "refused credentials fail no recipient", attempt: said(diagnose.StageAuth, "535 5.7.8 no"),
			meaning: account, state: relay.Deferred, wait: time.Minute,
		},
		{
			name: "too large beforehand", attempt: lost(diagnose.StageQueue, diagnose.NetSizeExceeded, false),
			meaning: recipient, state: relay.Failed,
		},
		{
			name: "a report is held", attempt: said(diagnose.StageRcpt, "550 no"),
			meaning: recipient, report: true, state: relay.Held,
		},
		{
			name: "a report is deferred first", attempt: said(diagnose.StageRcpt, "450 no"),
			meaning: recipient, report: true, state: relay.Deferred, wait: time.Minute,
		},
		{
			name: "an old report is held", attempt: said(diagnose.StageRcpt, "450 no"),
			meaning: recipient, age: 6 * 24 * time.Hour, report: true, state: relay.Held,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &relay.Message{Arrived: now.Add(-tt.age), Report: tt.report}
			r := &relay.Recipient{Attempts: tt.tried, State: relay.Queued}
			got := decide(&policy, now, m, r, &tt.attempt, tt.meaning, 0.5)
			if got.State != tt.state || got.Counts == tt.free {
				t.Fatalf("decided %+v, want %s, counts %v", got, tt.state, !tt.free)
			}
			if tt.state == relay.Deferred {
				if wait := got.Next.Sub(now); wait != tt.wait {
					t.Errorf("waits %v, want %v", wait, tt.wait)
				}
			}
			if tt.state == relay.Held && got.HeldWhy == "" {
				t.Error("held without saying why")
			}
		})
	}
}

// TestWhatARefusalDoes is the table of what a refusal does to its recipient and to the lane, by who is
// concerned, where it was said, and its class.
func TestWhatARefusalDoes(t *testing.T) {
	const (
		fails    = "fails"
		waits    = "waits"
		reported = "waits, reported"
		account  = "waits, reported, counts against the account"
		slows    = "waits, the lane slows"
		counts   = "waits, counts with others"
		quota    = "waits, a quota"
	)
	about := func(c diagnose.Category, s diagnose.Scope, r diagnose.Reason) diagnose.Diagnosis {
		return diagnose.Diagnosis{Category: c, Scope: s, Reason: r}
	}
	who := map[string]diagnose.Diagnosis{
		"recipient": {
			Category: diagnose.MailboxFull,
			Scope:    diagnose.ScopeRecipient,
			Owner:    diagnose.OwnerRecipient,
		},
		"message": {
			Category: diagnose.Blocked,
			Scope:    diagnose.ScopeMessage,
			Owner:    diagnose.OwnerApplication,
		},
		"sender's domain": {
			Category: diagnose.DMARCErrors,
			Scope:    diagnose.ScopeSender,
			Owner:    diagnose.OwnerSenderDomain,
		},
		"sender's standing": {
			Category: diagnose.SenderReputation,
			Scope:    diagnose.ScopeSender,
			Owner:    diagnose.OwnerOperator,
		},
		"unverified sender": {
			Category: diagnose.RejectionErrors,
			Scope:    diagnose.ScopeSender,
			Owner:    diagnose.OwnerOperator,
		},
		"upstream": {
			Category: diagnose.RecipientError,
			Scope:    diagnose.ScopeUpstream,
			Owner:    diagnose.OwnerOperator,
		},
		"upstream, a guess": {
			Category:   diagnose.RecipientError,
			Scope:      diagnose.ScopeUpstream,
			Basis:      diagnose.BasisCode,
			Confidence: diagnose.Low,
		},
		"rate of all":      {Category: diagnose.RateLimitIssues, Scope: diagnose.ScopeUpstream},
		"rate of one":      {Category: diagnose.RateLimitIssues, Scope: diagnose.ScopeRecipient},
		"rate of a sender": about(diagnose.RateLimitIssues, diagnose.ScopeSender, "throttled"),
		"greylisting": {
			Category: diagnose.RecipientError,
			Scope:    diagnose.ScopeRecipient,
			Reason:   diagnose.ReasonGreylisted,
			Basis:    diagnose.BasisText,
		},
		"mailbox busy": {Category: diagnose.MailboxIssues, Scope: diagnose.ScopeRecipient,
			Basis: diagnose.BasisText},
		"our quota":  about(diagnose.RateLimitIssues, diagnose.ScopeUpstream, diagnose.ReasonQuotaExceeded),
		"our tenant": about(diagnose.RecipientError, diagnose.ScopeUpstream, diagnose.ReasonTenantThreshold),
		"their tenant": about(diagnose.RecipientError, diagnose.ScopeRecipient,
			diagnose.ReasonTenantThreshold),
		"connections": about(diagnose.RateLimitIssues, diagnose.ScopeUpstream,
			diagnose.ReasonTooManyConnections),
		"idle session": about(diagnose.RecipientError, diagnose.ScopeUpstream, diagnose.ReasonSessionTimeout),
		"full session": about(diagnose.RateLimitIssues, diagnose.ScopeUpstream,
			diagnose.ReasonSessionMessages),
	}
	later := []diagnose.Stage{diagnose.StageRcpt, diagnose.StageData, diagnose.StageEndOfData}
	mail := []diagnose.Stage{diagnose.StageMail}
	tests := []struct {
		who    string
		stages []diagnose.Stage
		reply  string
		want   string
	}{
		{"recipient", mail, "450 no", waits}, {"recipient", later, "450 no", waits},
		{"recipient", mail, "550 no", fails}, {"recipient", later, "550 no", fails},
		{"recipient", mail, "421 no", slows}, {"recipient", later, "421 no", slows},
		{"recipient", mail, "451 4.7.1 no", slows}, {"recipient", later, "451 4.7.1 no", waits},
		{"recipient", mail, "454 4.7.0 no", slows}, {"recipient", mail, "451 4.3.0 no", waits},
		{"message", later, "450 no", waits}, {"message", later, "550 no", fails},
		{"sender's domain", later, "450 no", waits}, {"sender's domain", later, "550 no", fails},
		{"sender's standing", mail, "550 no", account}, {"sender's standing", later, "550 no", fails},
		{"unverified sender", mail, "450 no", waits}, {"unverified sender", later, "450 no", waits},
		{"unverified sender", mail, "550 no", account}, {"unverified sender", later, "550 no", reported},
		{"upstream", mail, "450 no", account}, {"upstream", mail, "550 no", account},
		{"upstream", later, "450 no", waits}, {"upstream", later, "550 no", reported},
		{"upstream, a guess", mail, "550 no", account}, {"upstream, a guess", later, "550 no", reported},
		{"rate of all", mail, "450 no", slows}, {"rate of all", later, "450 no", counts},
		{"rate of all", mail, "550 no", account}, {"rate of all", later, "550 no", reported},
		{"rate of one", mail, "450 no", slows}, {"rate of one", later, "450 no", waits},
		{"rate of one", later, "421 no", slows}, {"rate of one", later, "550 no", fails},
		{"rate of a sender", mail, "450 no", counts}, {"rate of a sender", later, "450 no", counts},
		{"greylisting", mail, "451 4.7.1 no", waits}, {"greylisting", later, "421 no", waits},
		{"mailbox busy", later, "450 no", waits}, {"mailbox busy", later, "421 no", waits},
		{"mailbox busy", later, "432 no", waits},
		{"our quota", mail, "450 no", quota}, {"our quota", later, "421 no", quota},
		{"our quota", later, "550 no", quota},
		{"our tenant", mail, "550 no", quota}, {"our tenant", later, "450 no", quota},
		{"their tenant", later, "450 no", waits}, {"their tenant", later, "550 no", fails},
		{"connections", mail, "432 no", slows}, {"connections", later, "451 no", slows},
		{"idle session", mail, "421 no", waits}, {"idle session", mail, "451 no", waits},
		{"idle session", later, "421 no", waits},
		{"full session", mail, "421 no", waits}, {"full session", later, "452 no", waits},
	}
	now, policy := time.Now(), testPolicy()
	m := &relay.Message{Arrived: now}
	var l *Lane // addSignal needs none of it
	for _, tt := range tests {
		for _, stage := range tt.stages {
			d := who[tt.who]
			a := &relay.Attempt{Stage: stage, Reply: diagnose.ParseReply(tt.reply)}
			var s signal
			l.addSignal(&s, &relay.Transaction{Message: m, From: "A@example.com"}, &relay.Recipient{}, a, &d)
			got := fails
			if decide(&policy, now, m, &relay.Recipient{State: relay.Queued}, a, &d,
				0.5).State == relay.Deferred {
				got = waits
			}
			if len(s.refused) > 0 {
				got += ", reported"
			}
			if s.accountRefused == "a@example.com" {
				got += ", counts against the account"
			}
			switch {
			case s.limit == nil:
			case s.limit.kind == quotaLimit:
				got += ", a quota"
			case s.limit.alone:
				got += ", the lane slows"
			default:
				got += ", counts with others"
			}
			if got != tt.want {
				t.Errorf("%s, %s at %s: %s, want %s", tt.who, tt.reply, stage, got, tt.want)
			}
		}
	}
}

func TestDelayStaysWithinJitter(t *testing.T) {
	p := testPolicy()
	for n := range 20 {
		base := p.delay(n, 0.5)
		if lo, hi := p.delay(n, 0), p.delay(n, 1); lo != base*9/10 || hi != base*11/10 {
			t.Errorf("attempt %d: %v to %v, want %v +-10 %%", n, lo, hi, base)
		}
	}
}

func TestRememberKeepsBeginningAndEnd(t *testing.T) {
	var h []relay.HistoryEntry
	for i := range 100 {
		h = remember(h, relay.HistoryEntry{Reply: string(rune('0' + i%10)), Time: time.Unix(int64(i), 0)})
	}
	if len(h) != relay.MaxHistory || h[0].Time.Unix() != 0 ||
		h[keepFirst].Time.Unix() != 100-(relay.MaxHistory-keepFirst) ||
		h[len(h)-1].Time.Unix() != 99 {
		t.Errorf("%d entries, %v", len(h), h)
	}
}
