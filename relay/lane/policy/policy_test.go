package policy

import (
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/lane"
)

// named is a Rule with a name and an action, to be changed.
func named(name string, change func(*Rule)) Rule {
	r := Rule{Ruling: lane.Ruling{Policy: name, Action: lane.ActionHold}}
	change(&r)
	return r
}

// TestFirstFittingRuleDecides: every key must fit, and the first such rule is taken.
func TestFirstFittingRuleDecides(t *testing.T) {
	s, err := New([]Rule{
		named("patient", func(r *Rule) { r.Reasons, r.Attempts = []diagnose.Reason{"user_unknown"}, 3 }),
		named("partner", func(r *Rule) {
			r.Recipients = []string{"@partner.example", "@.partner.example"}
			r.Categories = []diagnose.Category{diagnose.Blocked, diagnose.InvalidAddress}
		}),
		named("shop", func(r *Rule) { r.Clients, r.Upstreams = []string{"shop"}, []string{"ses"} }),
		named("backup", func(r *Rule) {
			r.Reasons = []diagnose.Reason{"blocklisted"}
			r.SendersOfUpstream = []string{"@ours.example"}
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want, to, lane, client, from string
		tried                        int
		category                     diagnose.Category
		reason                       diagnose.Reason
	}{
		{want: "patient", to: "a@x.example", tried: 2, reason: "user_unknown"},
		{want: "", to: "a@x.example", tried: 1, reason: "user_unknown"},
		{want: "partner", to: "a@partner.example", tried: 1, category: diagnose.InvalidAddress,
			reason: "user_unknown"},
		{want: "partner", to: "a@eu.Partner.Example", category: diagnose.Blocked},
		{want: "", to: "a@eu.partner.example", category: diagnose.MailboxFull},
		{want: "shop", to: "a@x.example", lane: "ses", client: "shop"},
		{want: "", to: "a@x.example", lane: "other", client: "shop"},
		{want: "", to: "a@x.example", lane: "ses", client: "billing"},
		{want: "backup", to: "a@x.example", from: "a@ours.example", reason: "blocklisted"},
		{want: "backup", to: "a@x.example", from: "", reason: "blocklisted"},
		{want: "", to: "a@x.example", from: "a@theirs.example", reason: "blocklisted"},
	} {
		m := &relay.Message{Lane: tt.lane, Client: relay.Client{Name: tt.client},
			Envelope: relay.Envelope{From: tt.from}}
		r := &relay.Recipient{Address: tt.to, Attempts: tt.tried}
		got := ""
		if by := s.Ruling(m, r, &diagnose.Diagnosis{Category: tt.category, Reason: tt.reason}); by != nil {
			got = by.Policy
		}
		if got != tt.want {
			t.Errorf("%+v: %q decides", tt, got)
		}
	}
	var none *Set
	if none.Ruling(&relay.Message{}, &relay.Recipient{}, &diagnose.Diagnosis{}) != nil {
		t.Error("no policies, and yet one decides")
	}
}

// TestRulesThatAreNeverUsed are told, and only these.
func TestRulesThatAreNeverUsed(t *testing.T) {
	full := func(r *Rule) { r.Categories = []diagnose.Category{diagnose.MailboxFull} }
	both := func(r *Rule) { r.Categories = []diagnose.Category{diagnose.MailboxFull, diagnose.Blocked} }
	late := func(r *Rule) { full(r); r.Attempts = 5 }
	any := func(*Rule) {}
	first := func(r *Rule) { r.Attempts = 1 }
	for _, tt := range []struct {
		before, after func(*Rule)
		never         bool
	}{
		{any, full, true}, {both, full, true}, {full, both, false}, {full, late, true}, {late, full, false},
		{full, any, false}, {first, any, true}, {late, any, false},
	} {
		_, err := New([]Rule{named("one", tt.before), named("two", tt.after)})
		told := err != nil && strings.Contains(err.Error(), "policy two is never used")
		if (err != nil) != tt.never || told != tt.never {
			t.Errorf("%+v then %+v: %v", named("one", tt.before), named("two", tt.after), err)
		}
	}
}
