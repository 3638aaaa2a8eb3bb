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

// quotaUsedUp takes every refusal for a quota that is used up, until retryAfter if that is not 0.
func quotaUsedUp(scope diagnose.Scope, retryAfter time.Duration) func(diagnose.Symptom) diagnose.Diagnosis {
	return func(diagnose.Symptom) diagnose.Diagnosis {
		return diagnose.Diagnosis{
			Category:   diagnose.RateLimitIssues,
			Scope:      scope,
			Reason:     diagnose.ReasonQuotaExceeded,
			RetryAfter: diagnose.Seconds(retryAfter),
		}
	}
}

// TestLaneDailyQuotaPauses has an upstream whose daily quota is used up, for all or for mail of one kind, in
// the words and at the stages at which providers say so. The lane pauses, one message at a time tries, and
// nothing is bounced.
func TestLaneDailyQuotaPauses(t *testing.T) {
	for _, tt := range []struct {
		stage diagnose.Stage
		reply string
	}{
		{diagnose.StageEndOfData, sesQuota},
		{diagnose.StageEndOfData, "550 5.4.5 Daily user sending limit exceeded\r\n"},
		{diagnose.StageRcpt, "550 5.4.5 Daily SMTP relay limit exceeded for customer\r\n"},
		{diagnose.StageMail, "452 4.3.1 Your daily sending quota is exceeded\r\n"},
		{diagnose.StageEndOfData, m365Quota},
		{diagnose.StageRcpt, "450-Requested mail action not taken: mailbox unavailable\r\n" +
			"450 Mail send limit exceeded.\r\n"},
		{diagnose.StageRcpt, "550 5.1.90 Your message can't be sent because you've reached your daily " +
			"limit for message recipients\r\n"},
	} {
		for senders := range 3 {
			t.Run(fmt.Sprint(tt.reply, senders+1), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := engineBench(t)
					var used atomic.Bool
					used.Store(true)
					b.refuse(tt.stage, tt.reply, func(string, string) bool { return used.Load() })
					b.upstream.delay = 50 * time.Millisecond
					stop := b.run(t)
					defer stop()
					for i := range 30 {
						b.put(fmt.Sprintf("s%d@example.com", i%(senders+1)),
							fmt.Sprintf("r%d@example.net", i))
					}
					pass(30 * time.Second)
					if n := b.upstream.offers(); n > 2*b.settings.Concurrency+1 {
						t.Errorf("%d contents were offered in 30 seconds, want those leased and one more", n)
					}
					st := b.lane.State()
					if !st.Paused || st.Diagnosis == nil ||
						st.Diagnosis.Reason != diagnose.ReasonQuotaExceeded ||
						!st.NextProbe.After(time.Now()) ||
						st.Reply == "" {
						t.Errorf("state %+v, want paused for the quota until the next probe", st)
					}
					pass(24 * time.Hour)
					if n := b.upstream.offers(); n > 45 {
						t.Errorf("%d contents were offered in a day, want one an hour", n)
					}
					if got := b.spool.states(); got[relay.Queued]+got[relay.Deferred] != 30 {
						t.Errorf("states %v, want all waiting", got)
					}
					used.Store(false)
					pass(2*time.Hour + 15*time.Minute)
					if got := b.spool.states(); got[relay.Relayed] != 30 || b.lane.State().Paused {
						t.Errorf("states %v two hours after the day ended, paused %v", got,
							b.lane.State().Paused)
					}
					b.log.wantOnePause(t)
				})
			})
		}
	}
}

// TestLaneQuotaThatNamesItsEnd is left alone until then.
func TestLaneQuotaThatNamesItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.meaning = quotaUsedUp(diagnose.ScopeUpstream, 3*time.Hour)
		b.settings.Policy.RetryAfter.Max = 4 * time.Hour
		b.upstream.answer = always("452 4.7.1 quota exceeded, try again in 3 hours\r\n")
		stop := b.run(t)
		defer stop()
		b.putMany(30)
		pass(time.Second)
		before := b.upstream.offers()
		pass(3*time.Hour - 2*time.Second)
		if n := b.upstream.offers(); n != before {
			t.Errorf("%d offers within the three hours", n-before)
		}
		pass(20 * time.Minute)
		if n := b.upstream.offers(); n != before+1 {
			t.Errorf("%d offers after them, want one", n-before)
		}
	})
}

// TestOneMessageAtItsQuota: a lane with nothing else to do says that it is paused, and takes new mail to the
// upstream all the same, since one message alone proves nothing.
func TestOneMessageAtItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engineBench(t)
		b.refuse(diagnose.StageEndOfData, sesQuota,
			func(_, to string) bool { return to == "quota@example.net" })
		stop := b.run(t)
		defer stop()
		b.put("a@example.com", "quota@example.net")
		pass(5 * time.Hour)
		if st := b.lane.State(); !st.Paused || st.Diagnosis.Reason != diagnose.ReasonQuotaExceeded {
			t.Errorf("state %+v, want paused", st)
		}
		if n := b.upstream.offers(); n > 15 {
			t.Errorf("%d offers in five hours", n)
		}
		id := b.put("a@example.com", "r@example.net")
		pass(time.Second)
		if r := b.spool.recipient(id, 0); r.State != relay.Relayed || b.lane.State().Paused {
			t.Errorf("new mail is %s, paused %v; want relayed at once, no pause", r.State,
				b.lane.State().Paused)
		}
	})
}

// TestSenderAtItsQuotaWaitsAlone has 500 messages of a sender whose quota is used up, and mail of others.
func TestSenderAtItsQuotaWaitsAlone(t *testing.T) {
	for _, scope := range []diagnose.Scope{diagnose.ScopeUpstream, diagnose.ScopeSender} {
		t.Run(string(scope), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.meaning = quotaUsedUp(scope, 0)
				var used atomic.Bool
				used.Store(true)
				b.refuse(diagnose.StageEndOfData, sesQuota, func(from, _ string) bool {
					return used.Load() && from == "full@example.com"
				})
				stop := b.run(t)
				defer stop()
				for i := range 500 {
					b.put("full@example.com", fmt.Sprintf("f%d@example.net", i))
					b.put("other@example.com", fmt.Sprintf("r%d@example.net", i))
				}
				pass(time.Minute)
				if got := b.spool.states(); got[relay.Relayed] != 500 {
					t.Errorf("states %v, want the mail of the other sender relayed", got)
				}
				if n := b.upstream.offers() - 500; n > 10 {
					t.Errorf("%d contents of the sender were offered, want few", n)
				}
				if st := b.lane.State(); st.Paused || len(st.Senders) != 1 ||
					st.Senders[0].Sender != "full@example.com" {
					t.Errorf("state %+v, want one paused sender", st)
				}
				pass(6 * time.Hour)
				if n := b.upstream.offers() - 500; n > 60 {
					t.Errorf("%d contents of the sender were offered in six hours, want few", n)
				}
				used.Store(false)
				pass(2 * time.Hour)
				if got := b.spool.states(); got[relay.Relayed] != 1000 || len(b.lane.State().Senders) != 0 {
					t.Errorf("states %v, senders %v: want all relayed", got, b.lane.State().Senders)
				}
			})
		})
	}
}

// TestMailOfAPausedSenderStillExpires: waiting for its sender costs a message neither its last attempt nor
// its report.
func TestMailOfAPausedSenderStillExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.meaning = quotaUsedUp(diagnose.ScopeSender, 0)
		b.refuse(diagnose.StageMail, sesQuota, func(string, string) bool { return true })
		stop := b.run(t)
		defer stop()
		for i := range 10 {
			b.put("full@example.com", fmt.Sprintf("f%d@example.net", i))
		}
		pass(10*time.Hour - time.Second)
		if got := b.spool.states(); got[relay.Expired] != 0 {
			t.Errorf("states %v before the time", got)
		}
		pass(time.Minute)
		if got := b.spool.states(); got[relay.Expired] != 10 {
			t.Errorf("states %v, want all expired", got)
		}
		for i := range 10 {
			if len(b.upstream.times(fmt.Sprintf("f%d@example.net", i))) == 0 {
				t.Errorf("message %d had no attempt", i)
			}
		}
	})
}

func TestPausedSendersAreBounded(t *testing.T) {
	p, policy := &pausedSenders{}, testPolicy()
	now := time.Now()
	for i := range 10 * maxPausedSenders {
		h := &metLimit{refusal: refusal{meaning: &diagnose.Diagnosis{}}}
		h.sender = fmt.Sprint(i)
		p.pause(h, "", now.Add(time.Duration(i)*time.Second), senderProbe(), &policy)
	}
	if len(p.paused) != maxPausedSenders {
		t.Errorf("%d paused senders are remembered, want %d", len(p.paused), maxPausedSenders)
	}
	if _, waits := p.hold(fmt.Sprint(10*maxPausedSenders-1), "x", now); !waits {
		t.Error("the newest was forgotten")
	}
}
