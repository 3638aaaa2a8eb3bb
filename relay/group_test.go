package relay

import (
	"testing"

	"mailwhy/diagnose"
)

// TestSameFailure: which recipients one sentence tells of.
func TestSameFailure(t *testing.T) {
	said := func(address, reply string) Recipient {
		return Recipient{
			Address: address,
			State:   Failed,
			Last:    &Attempt{Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply(reply)},
			Diagnosis: &diagnose.Diagnosis{
				Category: diagnose.InvalidAddress,
				Reason:   "user_unknown",
				Rule:     "user-unknown",
			},
		}
	}
	ann := said("ann@a.test", "550 5.1.1 <ann@a.test>: user ann unknown (ref 4F1B2)\r\n")
	expired := said("bob@a.test", "550 5.1.1 <bob@a.test>: user bob unknown (ref 4F1B3)\r\n")
	expired.State = Expired
	other := said("bob@a.test", "550 5.1.1 <bob@a.test>: user bob unknown (ref 4F1B3)\r\n")
	other.Diagnosis = &diagnose.Diagnosis{
		Category: diagnose.InvalidAddress,
		Reason:   "account_inactive",
		Rule:     "inactive",
	}
	api := func(address, words string) Recipient {
		r := said(address, "")
		r.Last.NetErr = diagnose.NetErr{Kind: diagnose.NetAPI, Text: words}
		return r
	}
	no, same := api("ann@a.test", "HTTP 400 X: no such ann"), api("bob@a.test", "HTTP 400 X: no such bob")
	if SameFailureOf(&no) != SameFailureOf(&same) {
		t.Error("the same words of an API are not the same failure")
	}
	if never := api("ann@a.test", "HTTP 403 Y: never"); SameFailureOf(&no) == SameFailureOf(&never) {
		t.Error("other words of an API are the same failure")
	}
	for name, tt := range map[string]struct {
		r    Recipient
		same bool
	}{
		"another address and reference": {
			said("bob@b.test", "550 5.1.1 <bob@b.test>: user bob unknown (ref 9C)\r\n"),
			true,
		},
		"in capitals": {
			said("Bob@b.test", "550 5.1.1 <BOB@B.TEST>: User Bob unknown (ref 9C)\r\n"),
			true,
		},
		"another enhanced code": {
			said("bob@b.test", "550 5.1.2 <bob@b.test>: user bob unknown (ref 9C)\r\n"),
			false,
		},
		"another code": {
			said("bob@b.test", "553 5.1.1 <bob@b.test>: user bob unknown (ref 9C)\r\n"),
			false,
		},
		"other words": {
			said("bob@b.test", "550 5.1.1 <bob@b.test>: user bob disabled (ref 9C)\r\n"),
			false,
		},
		"another line": {
			said("bob@b.test", "550-5.1.1 <bob@b.test>:\r\n550 5.1.1 user bob unknown (ref 9C)\r\n"),
			false,
		},
		"another end":       {expired, false},
		"another diagnosis": {other, false},
		"nothing said":      {Recipient{Address: "bob@b.test", State: Failed}, false},
	} {
		if got := SameFailureOf(&ann) == SameFailureOf(&tt.r); got != tt.same {
			t.Errorf("%s: %v", name, got)
		}
	}
}
