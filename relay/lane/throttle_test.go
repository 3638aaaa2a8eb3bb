package lane

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

const (
	sesThrottled = "454 Throttling failure: Maximum sending rate exceeded.\r\n"
	sesQuota     = "454 Throttling failure: Daily message quota exceeded.\r\n"
	m365Quota    = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException.MapiException" +
		"SubmissionQuotaExceeded; Failed to process message due to a permanent exception\r\n"
	taken = "250 2.0.0 ok\r\n"
)

// engineBench is a bench whose refusals are diagnosed by the engine.
func engineBench(t *testing.T) *bench {
	t.Helper()
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench()
	b.settings.Policy = testPolicy()
	b.meaning = engine.Diagnose
	return b
}

// refuse makes the upstream answer reply to those for whom which is true, and take all else.
func (b *bench) refuse(stage diagnose.Stage, reply string, which func(from, to string) bool) {
	b.upstream.stage = stage
	b.upstream.answer = func(tx *relay.Transaction, r int) diagnose.Reply {
		if which(tx.From, tx.Message.Recipients[r].Address) {
			return diagnose.ParseReply(reply)
		}
		return diagnose.ParseReply(taken)
	}
}

// TestOthersGoOnWhenOneIsLimited has one recipient, domain or sender that meets a limit for ever, among a
// message a second of others.
func TestOthersGoOnWhenOneIsLimited(t *testing.T) {
	to := func(prefix string) func(from, to string) bool {
		return func(_, to string) bool { return strings.HasPrefix(to, prefix) }
	}
	domain := func(_, to string) bool { return strings.HasSuffix(to, "@limited.example") }
	sender := func(from, _ string) bool { return from == "limited@example.com" }
	for _, tt := range []struct {
		name  string
		stage diagnose.Stage
		reply string
		which func(from, to string) bool
	}{
		{"a recipient, after the content", diagnose.StageEndOfData, sesThrottled, to("limited1@")},
		{"five recipients", diagnose.StageEndOfData, sesThrottled, to("limited")},
		{"a recipient, at RCPT", diagnose.StageRcpt, "450 4.7.1 Message rate limit exceeded\r\n",
			to("limited1@")},
		{"a recipient, the session ended", diagnose.StageRcpt, "421 4.7.0 Try again later\r\n",
			to("limited1@")},
		{"a recipient, its own limit", diagnose.StageRcpt,
			"432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded\r\n", to("limited")},
		{"greylisting", diagnose.StageRcpt, "421 4.7.1 Greylisted, try again later\r\n", to("limited")},
		{"a domain", diagnose.StageRcpt, "451 4.7.1 Too many messages from your host, slow down\r\n", domain},
		{"a sender, at MAIL", diagnose.StageMail, "450 4.7.1 Message rate limit exceeded\r\n", sender},
		{"a sender, after the content", diagnose.StageEndOfData, sesThrottled, sender},
		{"a sender's quota", diagnose.StageEndOfData, sesQuota, sender},
		{"a recipient's quota", diagnose.StageEndOfData, sesQuota, to("limited1@")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := engineBench(t)
				b.refuse(tt.stage, tt.reply, tt.which)
				stop := b.run(t)
				defer stop()
				late := 0
				for i := range 600 {
					if i%10 == 0 {
						b.put("limited@example.com", fmt.Sprintf("r%d@limited.example", i))
					}
					b.put("other@example.com", fmt.Sprintf("limited%d@example.net", i/10%5))
					id := b.put("a@example.com", fmt.Sprintf("r%d@example.net", i))
					pass(time.Second)
					if b.spool.recipient(id, 0).State != relay.Relayed {
						late++
					}
				}
				if late > 5 {
					t.Errorf("%d of 600 messages of others waited for more than a second", late)
				}
			})
		})
	}
}

// TestLimitedRecipientIsTriedSeldom: the message of one that is throttled for ever costs few attempts.
func TestLimitedRecipientIsTriedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engineBench(t)
		b.refuse(diagnose.StageEndOfData, sesThrottled, func(_, to string) bool {
			return to == "throttled@example.net"
		})
		stop := b.run(t)
		defer stop()
		b.put("a@example.com", "throttled@example.net")
		pass(time.Hour)
		if n := len(b.upstream.times("throttled@example.net")); n < 5 || n > 15 {
			t.Errorf("offered %d times in an hour, want about ten", n)
		}
		if b.lane.State().Slowed {
			t.Error("one recipient slowed the lane")
		}
	})
}

// TestSessionEndsCostNothing: an upstream that ends our sessions for their age does not slow the lane.
func TestSessionEndsCostNothing(t *testing.T) {
	for _, reason := range []diagnose.Reason{diagnose.ReasonSessionTimeout, diagnose.ReasonSessionMessages} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench()
			b.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
				return diagnose.Diagnosis{
					Category: diagnose.RateLimitIssues, Scope: diagnose.ScopeUpstream, Reason: reason,
				}
			}
			seen := map[string]bool{}
			b.upstream.stage = diagnose.StageMail
			b.upstream.answer = func(tx *relay.Transaction, _ int) diagnose.Reply {
				if !seen[tx.Message.ID] {
					seen[tx.Message.ID] = true
					return diagnose.ParseReply("421 4.4.2 timeout, closing\r\n")
				}
				return diagnose.ParseReply(taken)
			}
			stop := b.run(t)
			defer stop()
			b.putMany(200)
			pass(3 * time.Second)
			if got := b.spool.states(); got[relay.Relayed] != 200 || b.lane.State().Slowed {
				t.Errorf("%s: states %v, slowed %v; want all relayed by a second try at once",
					reason, got, b.lane.State().Slowed)
			}
			if r := b.spool.recipient("M000001", 0); r.Attempts != 1 {
				t.Errorf("%s: %d steps of the schedule used up, want that of the success only",
					reason, r.Attempts)
			}
		})
	}
}
