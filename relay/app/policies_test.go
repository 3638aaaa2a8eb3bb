package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// order puts policies in force.
func (l *twoLanes) order(policies ...config.Policy) {
	l.t.Helper()
	l.reroute(func(cfg *config.Config) {
		for i := range policies {
			policies[i].Name = policies[i].Action
		}
		cfg.Policy = policies
	})
}

// logLine waits for the first line of the delivery log in which all of these stand.
func (l *twoLanes) logLine(all ...string) (found string) {
	l.t.Helper()
	smtptest.WaitFor(l.t, "a line with "+strings.Join(all, " "), func() bool {
		for line := range strings.Lines(l.log()) {
			found = line
			for _, s := range all {
				if !strings.Contains(line, s) {
					found = ""
				}
			}
			if found != "" {
				return true
			}
		}
		return false
	})
	return found
}

// TestPolicies: each action does what it says to real mail, and the log names the policy.
func TestPolicies(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	toSecond := []string{"second"}
	l.order(
		config.Policy{Recipients: []string{"550-5.1.1@second.test"}, Action: "retry",
			Schedule: value.Schedule{200 * time.Millisecond}},
		config.Policy{Recipients: []string{"450-4.2.1@second.test"}, Action: "fail"},
		config.Policy{Recipients: []string{"550-5.7.1@second.test"}, Action: "hold"},
		config.Policy{Upstreams: toSecond, Recipients: []string{"554-5.7.1@second.test"}, Action: "route",
			Upstream: "default"},
	)

	l.send("550-5.1.1@second.test")
	l.logLine(`"event":"deferred"`, `"to":"550-5.1.1@second.test"`, `"policy":"retry"`, `"attempt":1`)
	line := l.logLine(`"event":"failed"`, `"to":"550-5.1.1@second.test"`)
	if strings.Contains(line, "policy") {
		t.Errorf("after the schedule the policy decides still: %s", line)
	}

	l.send("450-4.2.1@second.test")
	l.logLine(`"event":"failed"`, `"to":"450-4.2.1@second.test"`, `"policy":"fail"`, `"code":450`)
	arrives(t, l.second, 2) // the bounces of both

	l.send("550-5.7.1@second.test")
	l.logLine(`"event":"held"`, `"policy":"hold"`, `"note":"policy hold: `)

	l.send("554-5.7.1@second.test")
	l.logLine(`"event":"deferred"`, `"upstream":"second"`, `"policy":"route"`)
	l.logLine(`"event":"moved"`, `"upstream":"default"`, `"policy":"route"`, `from second: policy route`)
	// The other upstream refuses it too: the policy is for the first, so that is the end.
	l.logLine(`"event":"failed"`, `"to":"554-5.7.1@second.test"`, `"upstream":"default"`)
}

// TestPolicyPauses: the lane stops for the ordered time, and goes on by itself.
func TestPolicyPauses(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.order(config.Policy{Recipients: []string{"550-5.7.1@second.test"}, Action: "pause",
		For: 6 * time.Second}) // as long as a busy machine takes to ask for the state
	l.send("550-5.7.1@second.test")
	l.logLine(`"event":"lane"`, `"state":"paused"`, `"policy":"pause"`)
	l.send("joe@second.test")
	h, err := l.client().Health(t.Context())
	if err != nil || !h.Lanes[1].Paused || h.Lanes[0].Paused {
		t.Errorf("%+v, %v", h.Lanes, err)
	}
	arrives(t, l.second, 1)
	l.logLine(`"event":"lane"`, `"state":"resumed"`)
	var waits []string
	if err := l.client().List(t.Context(), relay.QueueFilter{}, func(s admin.Summary) error {
		waits = append(waits, s.Recipients[0].Address)
		return nil
	}); err != nil || len(waits) != 1 || waits[0] != "550-5.7.1@second.test" {
		t.Errorf("waiting are %v, %v", waits, err)
	}
}

// TestPolicySlows: the lane sends no more than ordered, and its state says why.
func TestPolicySlows(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.order(config.Policy{Recipients: []string{"550-5.7.1@second.test"}, Action: "slow", For: time.Hour,
		Rate: value.Rate{Messages: 1, Per: time.Minute}})
	l.send("550-5.7.1@second.test")
	l.logLine(`"event":"lane"`, `"state":"slowed"`, `"policy":"slow"`)
	smtptest.WaitFor(t, "the rate", func() bool {
		h, err := l.client().Health(t.Context())
		return err == nil && h.Lanes[1].Slowed && h.Lanes[1].Rate == 0.017
	})
	l.order() // a reload ends what policies ordered
	smtptest.WaitFor(t, "full speed", func() bool {
		h, err := l.client().Health(t.Context())
		return err == nil && !h.Lanes[1].Slowed && h.Lanes[1].Rate == 0
	})
}

// TestWrongPolicies are told with their keys and what to write.
func TestWrongPolicies(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	cfg := l.withUpstreams(map[string]*smtptest.Server{"default": l.def, "second": l.second})
	cfg.Policy = []config.Policy{
		{Name: "a", Categories: []string{"Mailbox Ful"}, Reasons: []string{"user_unknwon"}, Action: "hold"},
		{Name: "z", Reasons: []string{"of a provider"}, Action: "hold"},
		{Name: "b", Action: "hold"}, {Name: "c", Reasons: []string{"mailbox_full"}, Action: "fail"},
	}
	err := l.app.Reload(cfg)
	if err == nil {
		t.Fatal("it loads")
	}
	for _, want := range []string{
		`policy[0].categories[0]: there is no "Mailbox Ful"; did you mean "Mailbox Full"?`,
		`policy[0].reasons[0]: there is no "user_unknwon"; did you mean "user_unknown"?`,
		`policy[1].reasons[0]: there is no "of a provider"; ` + "`mailwhy guide` lists them all",
		`policy c is never used: policy b before it takes all that it fits; put it first`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v; lacks %s", err, want)
		}
	}
}

// TestPolicySuppresses: the address of a refusal that a policy names gets no more mail.
func TestPolicySuppresses(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.reroute(func(cfg *config.Config) {
		cfg.Suppression.Mode = "enforce"
		cfg.Policy = []config.Policy{{Name: "full", Recipients: []string{"@second.test"}, Action: "suppress",
			For: time.Hour}}
	})
	l.send("552-5.2.2@second.test")
	l.logLine(`"event":"failed"`, `"to":"552-5.2.2@second.test"`, `"policy":"full"`)
	l.logLine(`"event":"suppression"`, `"to":"552-5.2.2@second.test"`, `"state":"created"`)
	v := l.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.say("MAIL FROM:<app@client.test>", "250")
	v.say("RCPT TO:<552-5.2.2@second.test>", "250")
	v.say("DATA", "354")
	v.say("Subject: x\r\n\r\nx\r\n.", "552-5.2.2 <552-5.2.2@second.test>: suppressed since ")
}

// TestPolicyNotifies: the operator gets one report for each message, of those that fail and of those that
// wait, and the sender its own.
func TestPolicyNotifies(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.reroute(func(cfg *config.Config) {
		cfg.Policy = []config.Policy{{Name: "tell", Upstreams: []string{"second"}, Action: "notify",
			Notify: "ops@second.test"}}
	})
	l.send("450-4.2.1@second.test")
	arrives(t, l.second, 1)
	l.send("550-5.1.1@second.test")
	arrives(t, l.second, 3)
	var to []string
	for _, m := range l.second.Messages() {
		if m.From != "" || len(m.To) != 1 {
			t.Errorf("a report from %q to %v", m.From, m.To)
		}
		to = append(to, m.To[0].Address)
	}
	slices.Sort(to)
	if want := []string{"app@client.test", "ops@second.test", "ops@second.test"}; !slices.Equal(to, want) {
		t.Errorf("reports to %v, want %v", to, want)
	}
	l.logLine(`"event":"dsn"`, `"to":"450-4.2.1@second.test"`, `"dsn_kind":"operator"`)
}
