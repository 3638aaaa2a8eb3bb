package lane

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// TestWhoseALimitIs is the table of what messages that met a limit, and others that were taken, say about
// whose it is. The history is written in words: "r1@a s" is a message of sender s to r1@a that met the limit,
// "+r1@a s" one that was taken, "MAIL s" one that met the limit at MAIL, "10x+r@a s" ten that were taken,
// "wait" is eleven minutes.
func TestWhoseALimitIs(t *testing.T) {
	rate := limit{kind: rateLimit, asks: true}
	alone := limit{kind: rateLimit, asks: true, alone: true}
	quota := limit{kind: quotaLimit, asks: true}
	owned := limit{kind: quotaLimit, asks: true, owned: true}
	tests := []struct {
		name    string
		limit   limit
		slowed  bool
		history string
		want    owner // by the last of them
	}{
		{"one recipient", rate, false, "r1@a s", messageLimit},
		{"one recipient, for ever", rate, false, "r1@a s, r1@a s, r1@a s, r1@a s", messageLimit},
		{"one recipient, for ever, on a slow lane", rate, true, "r1@a s, r2@b s, r3@c s, r1@a s",
			messageLimit},
		{"two recipients", rate, false, "r1@a s, r2@b s", messageLimit},
		{"three recipients", rate, false, "r1@a s, r2@b s, r3@c s", laneLimit},
		{"three of one domain, no other mail", rate, false, "r1@a s, r2@a s, r3@a s", laneLimit},
		{"three of one domain, others are taken", rate, false, "r1@a s, +r9@b s, r2@a s, r3@a s",
			messageLimit},
		{"a domain whose mail is taken in part", rate, false,
			"r1@a s, 3x+r9@b s, +r8@a s, r2@a s, r3@a s", messageLimit},
		{"three of one domain, then another", rate, false, "r1@a s, +r9@b s, r2@a s, r3@a s, r4@b s",
			laneLimit},
		{"three of one sender, others are taken", rate, false, "r1@a s, +r9@b t, r2@b s, r3@c s",
			senderLimit},
		{"a sender whose mail is taken in part", rate, false,
			"r1@a s, 3x+r9@b t, +r8@c s, r2@b s, r3@c s", messageLimit},
		{"a sender of nearly all mail", rate, false,
			"r1@a s, 19x+r@a s, +r9@b t, r2@b s, r3@c s", laneLimit},
		{"a domain of nearly all mail", rate, false,
			"r1@a s, 19x+r@a s, +r9@b s, r2@a s, r3@a s", laneLimit},
		{"a sender of a quarter of the mail", rate, false,
			"r1@a s, 5x+r@a s, 15x+r@b t, r2@b s, r3@c s", messageLimit},
		{"a few among many that are taken", rate, false, "r1@a s, 50x+r@a s, r2@b s, r3@c t", messageLimit},
		{"a few among many, on a slow lane", rate, true, "r1@a s, 50x+r@a s, r2@b s, r3@c t", laneLimit},
		{"long ago", rate, false, "r1@a s, r2@b s, wait, r3@c s", messageLimit},
		{"said at MAIL", alone, false, "MAIL s", laneLimit},
		{"said at MAIL, to one sender only", alone, false, "MAIL s, +r9@b t, MAIL s", senderLimit},
		{"said at MAIL, to two senders", alone, false, "MAIL s, +r9@b u, MAIL t", laneLimit},
		{"the session ended, by one recipient", alone, false, "r1@a s, +r9@b s, r1@a s", messageLimit},
		{"a quota", quota, false, "r1@a s", laneLimit},
		{"a quota, the same recipient again", quota, false, "r1@a s, r1@a s", messageLimit},
		{"a quota, one sender only", quota, false, "r1@a s, +r9@b t, r2@b s", senderLimit},
		{"a quota that names the sender", owned, false, "r1@a s", senderLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judged(&limits{}, tt.limit, tt.slowed, tt.history); got != tt.want {
				t.Errorf("%s: owner %d, want %d", tt.history, got, tt.want)
			}
		})
	}
}

// judged plays a history of TestWhoseALimitIs and returns what was said last.
func judged(l *limits, m limit, slowed bool, history string) (last owner) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for i, word := range strings.Split(history, ", ") {
		now = now.Add(time.Second)
		what, sender, _ := strings.Cut(word, " ")
		n := 1
		if times, rest, ok := strings.Cut(what, "x+"); ok {
			fmt.Sscan(times, &n)
			what = "+" + rest
		}
		domain := domainOf(what)
		switch {
		case word == "wait":
			now = now.Add(11 * time.Minute)
		case what[0] == '+':
			for range n {
				l.accept(sender, domain)
			}
		case what == "MAIL":
			last = l.judge(m, encounter{key: fmt.Sprint("message ", i), sender: sender, at: now}, slowed)
		default:
			last = l.judge(m, encounter{key: what, domain: domain, sender: sender, at: now}, slowed)
		}
	}
	return last
}

func TestLimitsAreBounded(t *testing.T) {
	l := &limits{}
	for i := range 100_000 {
		l.judge(limit{kind: rateLimit}, encounter{key: fmt.Sprint(i), at: time.Unix(int64(i/1000), 0)}, false)
	}
	if len(l.met) > limitRemembered || cap(l.met) > 4*limitRemembered {
		t.Errorf("%d encounters are kept in room for %d", len(l.met), cap(l.met))
	}
}

// TestDelayAfterALimit is the table of how long a message waits by what it met before.
func TestDelayAfterALimit(t *testing.T) {
	now, policy := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC), testPolicy()
	rate := diagnose.Diagnosis{
		Category: diagnose.RateLimitIssues, Scope: diagnose.ScopeUpstream, Reason: "throttled",
	}
	quota, session := rate, rate
	quota.Reason, session.Reason = diagnose.ReasonQuotaExceeded, diagnose.ReasonSessionTimeout
	named := quota
	named.RetryAfter = diagnose.Seconds(2 * time.Hour)
	const step = 3 * time.Second // the middle of 1 to 5
	tests := []struct {
		name   string
		d      *diagnose.Diagnosis
		reply  string
		before int // attempts in a row that met the same
		wait   time.Duration
		counts bool
	}{
		{"a rate", &rate, "450 slow", 0, step, false},
		{"a rate, the second time", &rate, "450 slow", 1, 2 * step, false},
		{"a rate, the fifth time", &rate, "450 slow", 4, 16 * step, false},
		{"a rate, for ever", &rate, "450 slow", 30, time.Hour, false},
		{"a quota", &quota, "450 quota", 0, time.Minute * 105 / 100, false},
		{"a quota, the third time", &quota, "450 quota", 2, 4 * time.Minute * 105 / 100, false},
		{"a quota, for ever", &quota, "450 quota", 30, time.Hour * 105 / 100, false},
		{"a quota by a 5xx", &quota, "550 quota", 0, time.Minute * 105 / 100, false},
		{"a quota that names its end", &named, "450 quota", 5, 2 * time.Hour * 105 / 100, false},
		{"an ended session", &session, "451 timeout", 0, 1500 * time.Millisecond, false},
		{"an ended session, again", &session, "451 timeout", 1, time.Minute, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &relay.Attempt{Stage: diagnose.StageEndOfData, Reply: diagnose.ParseReply(tt.reply)}
			r := &relay.Recipient{State: relay.Queued}
			for range tt.before {
				apply(r, &decision{State: relay.Deferred}, a, tt.d, now)
			}
			got := decide(&policy, now, &relay.Message{Arrived: now}, r, a, tt.d, 0.5)
			if wait := got.Next.Sub(now); got.State != relay.Deferred || wait != tt.wait ||
				got.Counts != tt.counts {
				t.Errorf("%s, waits %v, counts %v; want %v, %v",
					got.State, wait, got.Counts, tt.wait, tt.counts)
			}
		})
	}
}
