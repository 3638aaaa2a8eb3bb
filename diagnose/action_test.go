package diagnose

import "testing"

// TestAddressIsGivenUpOnlyForItsOwnFault runs every labelled reply at every stage: whoever is told to remove
// the address has a permanent reply about this recipient whose wording was understood. No code is enough.
func TestAddressIsGivenUpOnlyForItsOwnFault(t *testing.T) {
	e := newEngine(t)
	stages := []Stage{StageUnknown, StageHello, StageAuth, StageMail, StageRcpt, StageData, StageEndOfData}
	removed := 0
	files := []string{"replies", "templates", "blind", "public", "public-aside", "public-later", "fresh"}
	for _, file := range files {
		for _, row := range labelledReplies(t, file) {
			for _, stage := range stages {
				s := symptomOf(row.Reply)
				s.Stage = stage
				d := e.Diagnose(s)
				if d.Action != ActionRemoveAddress {
					continue
				}
				removed++
				understood := d.Basis == BasisText && d.Confidence != Low
				if d.Scope != ScopeRecipient || s.Reply.Class() == 4 || !understood {
					t.Errorf("%q at %q says remove_address: %s, scope %s, %s, %s",
						row.Reply, stage, d.Reason, d.Scope, d.Basis, d.Confidence)
				}
			}
		}
	}
	if removed < 3000 {
		t.Errorf("only %d answers say remove_address: the test shows little", removed)
	}
}

// TestUnreadWordsBesideACodeAreUnexplained holds that no code speaks for words that nobody understood.
func TestUnreadWordsBesideACodeAreUnexplained(t *testing.T) {
	e := newEngine(t)
	for _, reply := range []string{
		"550 Your connection has been killed by an administrator", "550 Zork nargle",
		"551 Zork nargle",
		"550 5.1.0 zork nargle <user@example.com>", "511 zork", "550 This violates SMTP",
		"550 Receiver do'nt want your email. Are You shure you have sent your Mail to the right adress",
		"521 zork nargle", "553 zork nargle",
	} {
		for _, stage := range []Stage{StageUnknown, StageRcpt, StageEndOfData} {
			d := e.Diagnose(Symptom{Stage: stage, Reply: ParseReply(reply)})
			reason, action := refusedUnexplained, ActionWait
			if stage == StageEndOfData { // whatever they say, they say it of the message
				reason, action = policyRejected, ActionFixAndResend
			}
			if d.Reason != reason || d.Action != action || d.Confidence != Low {
				t.Errorf("%q at %q is %s, %s, %s by %s",
					reply, stage, d.Reason, d.Action, d.Confidence, d.Rule)
			}
		}
	}
}

// TestUnreadWordsBesideACodeOfTheAddress holds that an enhanced code of the address keeps its meaning beside
// words that nobody understood, and that the address is not given up for it.
func TestUnreadWordsBesideACodeOfTheAddress(t *testing.T) {
	e := newEngine(t)
	for _, reply := range []string{
		"550 5.1.1 Zork nargle", "550 5.1.1 please see our price quote department", "550 5.1.10 zork",
	} {
		for _, stage := range []Stage{StageUnknown, StageRcpt, StageEndOfData} {
			d := e.Diagnose(Symptom{Stage: stage, Reply: ParseReply(reply)})
			if d.Category != InvalidAddress || d.Action != ActionWait || d.Confidence != Low ||
				d.Reason == refusedUnexplained {
				t.Errorf("%q at %q is %s, %s, %s by %s",
					reply, stage, d.Reason, d.Action, d.Confidence, d.Rule)
			}
		}
	}
}

// TestDoubtKeepsTheAddress runs permanent replies that name a user, a mailbox or an address, and find the
// fault elsewhere: in the sender, the host, the account, the moment, the server or the message; some quote or
// deny. Not one may make an address be given up, whatever its reason is taken for.
func TestDoubtKeepsTheAddress(t *testing.T) {
	e := newEngine(t)
	for _, row := range jsonRows[labelled](t, "keep-address", 200) {
		for _, stage := range []Stage{StageUnknown, StageMail, StageRcpt, StageEndOfData} {
			d := e.Diagnose(Symptom{Stage: stage, Reply: ParseReply(row.Reply)})
			if d.Action == ActionRemoveAddress {
				t.Errorf("%q at %q gives up the address: %s by %s", row.Reply, stage, d.Reason, d.Rule)
			}
		}
	}
}

// TestOurFaultWaits runs permanent replies that find the fault in our host, login, account, connection or
// quota, in many words: their scope is the upstream, so that the mail waits.
func TestOurFaultWaits(t *testing.T) {
	e := newEngine(t)
	for _, row := range jsonRows[labelled](t, "our-fault", 100) {
		d := e.Diagnose(Symptom{Stage: StageRcpt, Reply: ParseReply(row.Reply)})
		if d.Scope != ScopeUpstream {
			t.Errorf("%q is %s, scope %s by %s", row.Reply, d.Reason, d.Scope, d.Rule)
		}
	}
}

// TestTemporaryReplyKeepsTheAddress holds for words that would give the address up beside a 5xx.
func TestTemporaryReplyKeepsTheAddress(t *testing.T) {
	e := newEngine(t)
	for _, reply := range []string{
		"450 4.1.1 User unknown", "450 4.2.1 account disabled",
		"450 mailbox unavailable",
		"450 4.1.2 Domain not found",
	} {
		for _, final := range []bool{false, true} {
			d := e.Diagnose(Symptom{Stage: StageRcpt, Reply: ParseReply(reply), Final: final})
			if d.Action != ActionWait || d.Fix[0] != e.keepNow[0] {
				t.Errorf("%q is %s, %s: %q", reply, d.Reason, d.Action, d.Fix)
			}
		}
	}
}

// TestCodeAfterTheContentSaysNothingOfTheAddress holds for replies without words: to RCPT they are about the
// address, after the content only an enhanced code of the address is.
func TestCodeAfterTheContentSaysNothingOfTheAddress(t *testing.T) {
	e := newEngine(t)
	const unavailable = "550 Requested action not taken: mailbox unavailable"
	for _, tt := range []struct {
		reply  string
		stage  Stage
		reason Reason
		action Action
	}{
		{"550", StageEndOfData, refusedUnexplained, ActionWait},
		{"550 5.7.1", StageEndOfData, refusedUnexplained, ActionWait},
		{"551", StageEndOfData, refusedUnexplained, ActionWait},
		{"550", StageRcpt, userUnknown, ActionWait},
		{"550 5.1.1", StageEndOfData, userUnknown, ActionWait},
		{"550 5.1.1", StageRcpt, userUnknown, ActionWait},
		{"550 5.1.1 <user@example.com>", StageRcpt, userUnknown, ActionWait},
		{unavailable, StageRcpt, "mailbox_unavailable", ActionRemoveAddress},
		{unavailable, StageEndOfData, "mailbox_unavailable", ActionWait},
		{unavailable, StageUnknown, "mailbox_unavailable", ActionWait},
		{"550 5.1.1 User unknown", StageEndOfData, userUnknown, ActionRemoveAddress},
	} {
		d := e.Diagnose(Symptom{Stage: tt.stage, Reply: ParseReply(tt.reply)})
		if d.Reason != tt.reason || d.Action != tt.action {
			t.Errorf("%q at %q is %s, %s by %s, want %s, %s",
				tt.reply, tt.stage, d.Reason, d.Action, d.Rule, tt.reason, tt.action)
		}
	}
}
