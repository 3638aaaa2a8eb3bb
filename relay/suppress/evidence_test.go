package suppress

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// harmless are replies that say nothing certain about an address: temporary ones, faults of our own or of the
// sender, refusals of the message, and codes without words.
const harmless = `
450 4.2.0 <a@x.test>: Recipient address rejected: Greylisted, see http://postgrey.example
450 4.1.1 <a@x.test>: Recipient address rejected: User unknown in virtual mailbox table
451 4.3.0 Temporary lookup failure
451 4.7.1 Please try again later
452 4.2.2 Mailbox full
452 4.3.1 Insufficient system storage
421 4.7.0 Too many connections from your IP
421 4.4.2 Connection timed out
450 4.7.1 Client host rejected: cannot find your reverse hostname
451 4.1.1 User unknown, try again later
450 4.2.1 The user you are trying to contact is receiving mail too quickly
421 RP-001 Unfortunately, messages from your IP were not sent
451 4.7.650 The mail server has been temporarily rate limited due to IP reputation
454 4.7.0 Temporary authentication failure
432 4.3.2 Concurrent connections limit exceeded
552 5.2.2 Mailbox full
552 5.2.2 The email account that you tried to reach is over quota
550 5.2.2 user is over the quota
550 5.7.1 Relaying denied
550 5.7.1 Unable to relay for a@x.test
554 5.7.1 <a@x.test>: Relay access denied
530 5.7.0 Authentication required
535 5.7.8 Authentication credentials invalid
550 5.7.60 SMTP; Client does not have permissions to send as this sender
554 Message rejected: Email address is not verified. The following identities failed the check
554 5.7.1 Sending quota exceeded
550 5.1.8 Access denied, bad outbound sender
550 5.7.26 Unauthenticated email from shop.example is not accepted due to domain's DMARC policy
550 5.7.1 Message failed DMARC evaluation
550 5.7.23 The message was rejected because of Sender Policy Framework violation
554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org
550 5.7.1 Our system has detected that this message is likely unsolicited mail
554 5.7.9 Message not accepted for policy reasons
550 High probability of spam
550 5.7.1 Message contains a virus
552 5.3.4 Message size exceeds fixed maximum message size
554 5.4.6 Too many hops
554 5.6.0 Message content rejected
550 5.7.0 Blocked attachment
554 Transaction failed: Duplicate header 'Date'.
554 Transaction failed: Expected ';', got "charset"
554 Transaction failed: Missing final '@domain'
554 Transaction failed: Local address contains control or whitespace
550 5.6.0 Invalid header found (see RFC2822 section 3.6)
550 5.6.0 Lone CR or LF in headers
553 5.1.7 Address error in from address
501 5.1.7 Bad sender address syntax
550 5.7.1 User's mailbox does not accept messages from you
550 5.7.1 Recipient not authorized, your IP has been found on a block list
550 5.1.0 Address rejected.
550 5.7.1 Recipient rejected by policy
550 5.1.1
550
550 5.1.1 rejected
550 Requested action not taken: mailbox unavailable
550 5.2.0 Mailbox unavailable
551 User not local; please try another path
550 Access denied
554 delivery error: dd This user doesn't have a yahoo.com account because of your IP reputation
550 5.1.1 The address is on the suppression list for your account
554 5.7.1 recipient address suppressed due to customer policy
550 5.4.1 Recipient address rejected: Access denied
550 5.4.7 Delivery expired (message too old)
`

// TestHarmless: nobody is suppressed for a reply that says nothing certain about the address, however often
// it comes and wherever, nor for a certain one where it is temporary or about something else.
func TestHarmless(t *testing.T) {
	w := newWorld(t)
	w.alter(func(s *Settings) { s.Breaker.Share = 2 })
	stages := []diagnose.Stage{diagnose.StageMail, diagnose.StageRcpt, diagnose.StageData,
		diagnose.StageEndOfData, diagnose.StageRemote}
	n := 0
	record := func(reply string, stage diagnose.Stage, kind relay.EventKind) {
		e := w.event(kind, fmt.Sprintf("a%d@x.test", n), reply+"\r\n", stage)
		if stage == diagnose.StageRemote {
			e.Kind, e.Feedback = relay.EventBounced, &relay.Feedback{Source: "webhook",
				Trust: relay.TrustProven}
		}
		w.list.Record(e)
	}
	for reply := range strings.Lines(strings.TrimSpace(harmless)) {
		reply = strings.TrimSpace(reply)
		n++
		for range 3 {
			for _, stage := range stages {
				record(reply, stage, relay.EventFailed)
				record(reply, stage, relay.EventDeferred)
				record(reply, stage, relay.EventExpired)
			}
			w.wait(day)
		}
		w.flush()
		if s := w.of(fmt.Sprintf("a%d@x.test", n)); s != nil {
			t.Errorf("%q: an entry, %s for %s (%s)", reply, s.State, s.Reason, s.Rule)
		}
	}
	if n < 50 {
		t.Errorf("only %d replies", n)
	}
	for _, stage := range []diagnose.Stage{diagnose.StageMail, diagnose.StageAuth, diagnose.StageGreeting,
		diagnose.StageHello, diagnose.StageQueue} {
		n++
		record(strings.TrimSpace(unknown), stage, relay.EventFailed)
		w.flush()
		if s := w.of(fmt.Sprintf("a%d@x.test", n)); s != nil {
			t.Errorf("at stage %s: an entry %+v", stage, s)
		}
	}
}

// TestCertain: replies that say for certain that nobody is there.
func TestCertain(t *testing.T) {
	w := newWorld(t)
	w.alter(func(s *Settings) { s.Breaker.Share = 2 })
	for i, reply := range []string{
		"550 5.1.1 <jane@x.test>: Recipient address rejected: User unknown in local recipient table",
		"550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n" +
			"550-5.1.1 double-checking the recipient's email address for typos or\r\n" +
			"550 5.1.1 unnecessary spaces. https://support.google.com/mail/?p=NoSuchUser - gsmtp",
		"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
		"550 No Such User Here",
		"550 5.1.1 unknown user: jane@x.test",
		"554 delivery error: dd This user doesn't have a yahoo.com account (jane@yahoo.com) [0]",
	} {
		to := fmt.Sprintf("a%d@x.test", i)
		e := w.event(relay.EventFailed, to, reply+"\r\n", diagnose.StageRcpt)
		w.list.Record(e)
		w.flush()
		if w.is(to) != "suppressed" {
			t.Errorf("%q: %s, by %s with %s confidence as %s", reply, w.is(to), e.Diagnosis.Basis,
				e.Diagnosis.Confidence, e.Diagnosis.Reason)
		}
	}
}

// TestReasonsAreTheGuides: the reasons that count are the guide's, about a recipient whose address is to be
// removed or asked for anew.
func TestReasonsAreTheGuides(t *testing.T) {
	w := newWorld(t)
	known := map[diagnose.Reason]diagnose.ReasonInfo{}
	for _, info := range w.engine.Reasons() {
		known[info.ID] = info
	}
	for r := range reasons() {
		info := known[r]
		if info.Scope != diagnose.ScopeRecipient || info.Action != diagnose.ActionRemoveAddress {
			t.Errorf("%s: scope %s, action %s", r, info.Scope, info.Action)
		}
	}
}

// TestBreaker: an upstream that calls everybody unknown adds nobody, and what it said before is taken back;
// others are believed. It is believed again when it is sound, or on the next day.
func TestBreaker(t *testing.T) {
	fails := func(w *world, upstream string, from, to int) {
		for i := from; i < to; i++ {
			e := w.event(relay.EventFailed, fmt.Sprintf("%s%d@x.test", upstream, i), unknown,
				diagnose.StageRcpt)
			e.Lane = upstream
			w.list.Record(e)
		}
		w.flush()
	}
	taken := func(w *world, upstream string, n int) {
		for i := range n {
			e := w.event(relay.EventRelayed, fmt.Sprintf("%s-ok%d@x.test", upstream, i), accepted,
				diagnose.StageEndOfData)
			e.Lane = upstream
			w.list.Record(e)
		}
		w.flush()
	}
	listed := func(w *world) int {
		n := int64(0)
		for _, m := range w.list.State().Entries {
			n += m
		}
		return int(n)
	}
	expect := func(t *testing.T, w *world, entries int, tripped bool) {
		t.Helper()
		if _, open := w.list.State().Tripped["sick"]; listed(w) != entries || open != tripped {
			t.Errorf("%d entries, tripped %v; want %d, %v\n%s", listed(w), open, entries, tripped, &w.log)
		}
	}
	t.Run("everybody", func(t *testing.T) {
		w := newWorld(t)
		fails(w, "sick", 0, 19)
		expect(t, w, 19, false)
		fails(w, "sick", 19, 40)
		expect(t, w, 0, true)
		if w.is("sick3@x.test") == "suppressed" || strings.Count(w.log.String(), "ERROR") != 1 ||
			!strings.Contains(w.told("sick3@x.test"), "removed") {
			t.Errorf("not taken back: %s\n%s", w.told("sick3@x.test"), &w.log)
		}
		fails(w, "sound", 0, 3)
		expect(t, w, 3, true)
		taken(w, "sick", 200) // it is sound again
		expect(t, w, 3, false)
		fails(w, "sick", 50, 52)
		expect(t, w, 5, false)
	})
	t.Run("few", func(t *testing.T) {
		w := newWorld(t)
		taken(w, "sick", 45)
		fails(w, "sick", 0, 44)
		expect(t, w, 44, false)
		fails(w, "sick", 44, 45)
		expect(t, w, 0, true)
	})
	t.Run("the same again and again", func(t *testing.T) {
		w := newWorld(t)
		for range 30 {
			fails(w, "sick", 0, 2)
		}
		expect(t, w, 2, false)
	})
	t.Run("from day to day", func(t *testing.T) {
		w := newWorld(t)
		for i := range 5 {
			fails(w, "sick", 10*i, 10*i+10)
			w.wait(day)
		}
		expect(t, w, 50, false)
	})
	t.Run("ends by itself", func(t *testing.T) {
		w := newWorld(t)
		fails(w, "sick", 0, 30)
		expect(t, w, 0, true)
		w.wait(25 * time.Hour)
		expect(t, w, 0, false)
		fails(w, "sick", 30, 32)
		expect(t, w, 2, false)
	})
	t.Run("what was there before stays", func(t *testing.T) {
		w := newWorld(t)
		fails(w, "sick", 0, 5)
		w.wait(day)
		fails(w, "sick", 5, 40)
		expect(t, w, 5, true)
	})
	t.Run("of very many a part is counted", func(t *testing.T) {
		w := newWorld(t)
		w.alter(func(s *Settings) { s.Most, s.Mode = 1e6, Observe })
		taken(w, "sick", 3*sampleMost)
		fails(w, "sick", 0, sampleMost)
		if _, open := w.list.State().Tripped["sick"]; open {
			t.Error("a quarter trips it")
		}
		if n := len(w.list.breaker.by["sick"].seen); n > sampleMost {
			t.Errorf("%d are counted one by one", n)
		}
	})
}
