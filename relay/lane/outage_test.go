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

func TestLanePausesForOwnFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		var down atomic.Bool
		down.Store(true)
		b.upstream.fault = func() *relay.Attempt {
			if down.Load() {
				return connectFault()
			}
			return nil
		}
		stop := b.run(t)
		defer stop()
		id := b.put("a@example.com", "r@example.net")
		pass(5 * time.Hour)
		if r := b.spool.recipient(id, 0); r.State != relay.Queued || r.Attempts != 0 {
			t.Errorf("state %s after %d attempts, want queued and none used", r.State, r.Attempts)
		}
		if !b.lane.State().Paused {
			t.Error("lane is not paused")
		}
		if n := b.upstream.probed(); n < 60 || n > 90 {
			t.Errorf("%d probes in 5 hours, want growing intervals up to 5 minutes", n)
		}
		down.Store(false)
		pass(6 * time.Minute)
		if got := b.spool.states(); got[relay.Relayed] != 1 {
			t.Errorf("states %v, want relayed once the upstream is back", got)
		}
		b.log.wantOnePause(t)
	})
}

// TestLaneBouncesNobodyForOwnFault has an upstream out of reach for a day, in each way in which that happens.
func TestLaneBouncesNobodyForOwnFault(t *testing.T) {
	said := func(stage diagnose.Stage, reply string) *relay.Attempt {
		return &relay.Attempt{Stage: stage, Reply: diagnose.ParseReply(reply)}
	}
	for name, fault := range map[string]*relay.Attempt{
		"upstream down":      connectFault(),
		"changed password":   said(diagnose.StageAuth, "535 5.7.8 Authentication credentials invalid\r\n"),
		"blocked IP address": said(diagnose.StageGreeting, "554 5.7.1 Your address is blocked\r\n"),
		"throttled at EHLO":  said(diagnose.StageHello, "421 4.7.0 Too many connections\r\n"),
		"expired certificate": {
			Stage:  diagnose.StageTLS,
			NetErr: diagnose.NetErr{Kind: diagnose.NetTLSExpired, Text: "expired"},
		},
		"account suspended at an API": {
			Stage: diagnose.StageMail, Verdict: 5,
			NetErr: diagnose.NetErr{Kind: diagnose.NetAPI, Reason: "account_suspended"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.settings.Policy = testPolicy()
				var down atomic.Bool
				down.Store(true)
				b.upstream.fault = func() *relay.Attempt {
					if down.Load() {
						return fault
					}
					return nil
				}
				stop := b.run(t)
				defer stop()
				b.putMany(200)
				pass(24 * time.Hour)
				if got := b.spool.states(); got[relay.Queued] != 200 {
					t.Fatalf("states after a day %v, want all 200 queued", got)
				}
				down.Store(false)
				pass(35 * time.Minute) // the longest interval between two logins
				if got := b.spool.states(); got[relay.Relayed] != 200 {
					t.Errorf("states %v, want all relayed once the cause ended", got)
				}
				if n := len(b.spool.owed()); n != 0 {
					t.Errorf("%d notices, want none", n)
				}
				b.log.wantOnePause(t)
				if n := b.upstream.probed(); n > 24*60/5+20 {
					t.Errorf("%d probes in a day, want one in five minutes at most", n)
				}
			})
		})
	}
}

// TestOnlyAMessageEndsAnAccountFault: a probe can log in where the account may not send, so the lane does not
// ask for one, and tries one message at growing intervals.
func TestOnlyAMessageEndsAnAccountFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Policy = testPolicy()
		var tried atomic.Int64
		var over atomic.Bool
		b.upstream.fault = func() *relay.Attempt {
			if over.Load() {
				return nil
			}
			tried.Add(1)
			return &relay.Attempt{Stage: diagnose.StageMail, Verdict: 5,
				NetErr: diagnose.NetErr{Kind: diagnose.NetAPI, Reason: "account_suspended"}}
		}
		stop := b.run(t)
		b.putMany(50)
		pass(24 * time.Hour)
		over.Store(true)
		pass(35 * time.Minute)
		stop()
		if n := b.upstream.probed(); n != 0 {
			t.Errorf("%d probes, want none", n)
		}
		if n := tried.Load(); n < 24 || n > 24*60/15+int64(b.settings.Concurrency) {
			t.Errorf("%d messages tried in a day, want one in 15 to 30 minutes", n)
		}
		b.log.wantOnePause(t)
	})
}

// TestLaneBouncesNobodyForBlockedAddress has an upstream that takes our connection and refuses each message
// for our address or account for a day, as Postfix does at RCPT and others after the content. The lane never
// pauses, since a recipient's server may have written the words; nothing is bounced, and the operator is told
// without being flooded.
func TestLaneBouncesNobodyForBlockedAddress(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		stage diagnose.Stage
		reply string
	}{
		{diagnose.StageRcpt, "554 5.7.1 Service unavailable; " +
			"Client host [192.0.2.7] blocked using zen.spamhaus.org\r\n"},
		{diagnose.StageRcpt, "554 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied\r\n"},
		{diagnose.StageRcpt, "554 5.7.1 <r@example.net>: Relay access denied\r\n"},
		{diagnose.StageRcpt, "530 5.7.0 Authentication required\r\n"},
		{diagnose.StageEndOfData, "554 Message rejected: Email address is not verified. " +
			"The following identities failed the check in region EU-WEST-1: s@example.com\r\n"},
	} {
		t.Run(tt.reply, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.settings.Policy = testPolicy()
				b.settings.Policy.DelayAfter = 0
				b.meaning, b.upstream.stage = engine.Diagnose, tt.stage
				var blocked atomic.Bool
				blocked.Store(true)
				b.upstream.answer = func(*relay.Transaction, int) diagnose.Reply {
					if blocked.Load() {
						return diagnose.ParseReply(tt.reply)
					}
					return diagnose.ParseReply("250 ok\r\n")
				}
				stop := b.run(t)
				defer stop()
				b.putMany(30)
				pass(24 * time.Hour)
				if got := b.spool.states(); got[relay.Deferred] != 30 {
					t.Fatalf("states after a day %v, want all 30 deferred", got)
				}
				if p, n := b.log.lane("paused"), b.log.lane("refused"); p != 0 || n < 1 || n > 24 {
					t.Errorf("%d pauses, the operator was told %d times: want none, and once an hour at most",
						p, n)
				}
				blocked.Store(false)
				pass(5 * time.Hour) // the schedule's last step is four
				if got := b.spool.states(); got[relay.Relayed] != 30 || len(b.spool.owed()) != 0 {
					t.Errorf("states %v, %d notices: want all relayed and no notice", got,
						len(b.spool.owed()))
				}
			})
		})
	}
}

// TestLaneHonoursRetryAfter: a paused lane leaves its upstream alone for as long as it asked.
func TestLaneHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
			return diagnose.Diagnosis{
				Scope:      diagnose.ScopeUpstream,
				RetryAfter: diagnose.Seconds(2 * time.Hour),
			}
		}
		b.upstream.fault = func() *relay.Attempt {
			return &relay.Attempt{
				Stage: diagnose.StageGreeting,
				Reply: diagnose.ParseReply("421 4.7.0 try again in 7200 seconds\r\n"),
			}
		}
		stop := b.run(t)
		defer stop()
		b.put("a@example.com", "r@example.net")
		pass(2*time.Hour - time.Second)
		if n := b.upstream.probed(); n != 0 {
			t.Errorf("%d probes within the two hours", n)
		}
		pass(20 * time.Minute)
		if n := b.upstream.probed(); n != 1 {
			t.Errorf("%d probes after them, want 1", n)
		}
	})
}

func TestLaneProbesRefusedCredentialsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.fault = func() *relay.Attempt {
			return &relay.Attempt{Stage: diagnose.StageAuth, Reply: diagnose.ParseReply("535 5.7.8 no\r\n")}
		}
		stop := b.run(t)
		defer stop()
		for i := range 100 {
			b.put("a@example.com", fmt.Sprintf("r%d@example.net", i))
		}
		pass(9 * time.Hour)
		if n := b.upstream.probed(); n > 25 {
			t.Errorf("%d logins in 9 hours, want few: accounts get locked", n)
		}
		if got := b.spool.states(); got[relay.Queued] != 100 {
			t.Errorf("states %v, want all queued", got)
		}
	})
}

// TestLaneProbesTokenEndpointSoon: while the token endpoint itself fails the lane tries again after seconds.
// A token that is refused is a refusal like others.
func TestLaneProbesTokenEndpointSoon(t *testing.T) {
	for reason, want := range map[diagnose.Reason]time.Duration{
		"oauth_unavailable": 5 * time.Second, "oauth_secret_invalid": time.Minute,
	} {
		t.Run(string(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.settings.ProbeToken = Bounds{5 * time.Second, 5 * time.Minute}
				b.upstream.fault = func() *relay.Attempt {
					return &relay.Attempt{Stage: diagnose.StageAuth, NetErr: diagnose.NetErr{
						Kind: diagnose.NetOAuthToken, Text: "no token", Reason: reason}}
				}
				stop := b.run(t)
				defer stop()
				began := time.Now()
				b.put("a@example.com", "r@example.net")
				pass(time.Hour)
				probes := b.upstream.probes
				if first := probes[0].Sub(began); first < want || first > want*11/10 {
					t.Errorf("the first probe came after %s", first)
				}
				if second := probes[1].Sub(probes[0]); second < 2*want || second > 2*want*11/10 {
					t.Errorf("the second probe came after another %s", second)
				}
			})
		})
	}
}

func TestLanePausedStillExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.fault = connectFault
		stop := b.run(t)
		defer stop()
		id := b.put("a@example.com", "r@example.net")
		pass(10*time.Hour + 10*time.Minute)
		r := b.spool.recipient(id, 0)
		if r.State != relay.Expired || r.Last == nil || r.Last.NetErr.Kind != diagnose.NetRefused {
			t.Errorf("recipient %+v, want expired because the upstream refuses connections", r)
		}
	})
}

// TestLaneExpiryNotStored: mail that could not be given up has no event that says so.
func TestLaneExpiryNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.fault, b.spool.editErr = connectFault, relay.ErrFull
		stop := b.run(t)
		defer stop()
		id := b.put("a@example.com", "r@example.net")
		pass(10*time.Hour + 10*time.Minute)
		if n := b.log.count(relay.EventExpired); n != 0 || b.spool.recipient(id, 0).State.Final() {
			t.Errorf("%d expired events of mail that waits", n)
		}
	})
}

func TestLaneAccountRefusalWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
			return diagnose.Diagnosis{Category: diagnose.RecipientError, Scope: diagnose.ScopeUpstream}
		}
		var closed atomic.Bool
		closed.Store(true)
		b.upstream.stage = diagnose.StageMail
		b.upstream.answer = func(tx *relay.Transaction, r int) diagnose.Reply {
			if closed.Load() {
				return diagnose.ParseReply("550 5.7.60 account suspended\r\n")
			}
			return diagnose.ParseReply("250 ok\r\n")
		}
		stop := b.run(t)
		defer stop()
		for i := range 10 {
			b.put("one@example.com", fmt.Sprintf("a%d@example.net", i))
		}
		synctest.Wait()
		if b.lane.State().Paused {
			t.Fatal("one sender's refusals paused the lane")
		}
		b.put("two@example.com", "b@example.net")
		b.put("three@example.com", "c@example.net")
		synctest.Wait()
		if !b.lane.State().Paused {
			t.Fatal("three senders' refusals did not pause the lane")
		}
		closed.Store(false)
		pass(3 * time.Hour)
		if got := b.spool.states(); got[relay.Relayed] != 12 {
			t.Errorf("states %v, want all 12 relayed and none failed", got)
		}
	})
}

func TestLaneRecipientTextNeverPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
			return diagnose.Diagnosis{
				Category:   diagnose.RecipientError,
				Scope:      diagnose.ScopeUpstream,
				Basis:      diagnose.BasisText,
				Confidence: diagnose.High,
			}
		}
		b.upstream.stage = diagnose.StageRcpt
		b.upstream.answer = always("550 5.7.60 account suspended\r\n")
		stop := b.run(t)
		defer stop()
		for i := range 10 {
			b.put(fmt.Sprintf("s%d@example.com", i), "r@example.net")
		}
		synctest.Wait()
		if b.lane.State().Paused {
			t.Error("text given at RCPT paused the lane")
		}
	})
}

// TestLanePausedExpiresAllOfItsMail: neither hundreds of old messages that are held nor another lane's
// backlog keep a paused lane from giving up its own mail, however much of it there is.
func TestLanePausedExpiresAllOfItsMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.fault = connectFault
		b.putMany(300)
		for _, m := range b.spool.messages {
			m.Recipients[0].State = relay.Held
		}
		for range 300 {
			b.spool.messages[b.put("a@example.com", "other@example.net")].Lane = "other"
		}
		first := b.seq
		b.putMany(2*expireBatch + 50)
		stop := b.run(t)
		defer stop()
		pass(10*time.Hour + 10*time.Minute)
		states := b.spool.states()
		if states[relay.Expired] != b.seq-first || states[relay.Held] != 300 || states[relay.Queued] != 300 {
			t.Errorf("states %v, want all %d of the lane expired, 300 held, 300 of another lane queued",
				states, b.seq-first)
		}
	})
}
