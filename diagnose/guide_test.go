package diagnose

import (
	"bufio"
	"encoding/binary"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestGuidePairs gives each row of the guide's table as a bare reply: the answer is one of the categories that the row
// names, the others are among the alternatives.
func TestGuidePairs(t *testing.T) {
	e := newEngine(t)
	data, err := os.ReadFile("testdata/guide-pairs.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(data)), "\n")[1:]
	if len(rows) < 100 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, "\t")
		reply := strings.TrimSuffix(cells[0]+" "+cells[1], " -")
		var named []Category
		for _, name := range strings.Split(cells[2]+"; "+cells[3], "; ") {
			if name != "-" && !slices.Contains(named, Category(name)) {
				named = append(named, Category(name))
			}
		}
		d := e.Diagnose(Symptom{Reply: ParseReply(reply)})
		if !slices.Contains(named, d.Category) {
			t.Errorf("%s is %s (by %s), want one of %v", reply, d.Category, d.Rule, named)
			continue
		}
		for _, c := range named {
			if c != d.Category && !slices.Contains(d.Alternatives, c) {
				t.Errorf("%s is %s; %s is not among the alternatives %v", reply, d.Category, c, d.Alternatives)
			}
		}
	}
}

// TestGuideAdvice lists each piece of the guide's advice and where it is carried: all the words must stand in what that
// reason or category says.
func TestGuideAdvice(t *testing.T) {
	e := newEngine(t)
	for _, c := range []struct{ advice, id, words string }{
		{"blocked: a policy or rule", "Blocked", "rule policy organisation"},
		{"blocked: mailbox quotas", "Blocked", "mailbox allowance"},
		{"blocked: size limits", "message_too_large", "larger allows"},
		{"DMARC: From agrees with the sending domain", "DMARC Errors", "from domain spf dkim"},
		{"DMARC: SPF is right", "spf_fail", "spf"},
		{"DMARC: DKIM is right", "dkim_fail", "dkim"},
		{"DMARC: confirm the match", "dmarc_fail", "from spf dkim"},
		{"invalid: typo", "user_unknown", "typo"},
		{"invalid: validation service", "Invalid Address", "validation service"},
		{"invalid: on the bounce list, revalidate", "on_bounce_list", "validate bounce list"},
		{"invalid: drop bounced addresses", "Invalid Address", "bounced list"},
		{"invalid: the recipient's MX is misconfigured or out", "recipient_mx_fault", "misconfigured outage mx"},
		{"invalid: the account is inactive", "account_inactive", "inactive"},
		{"mailbox: validate before campaigns", "Mailbox Issues", "validation campaign"},
		{"mailbox: typing errors", "mailbox_unavailable", "typing errors"},
		{"mailbox: the domain is active", "Mailbox Issues", "domain active"},
		{"mailbox: no mailbox, takes no mail", "no_mail_service", "no mailboxes no mail"},
		{"mailbox: a valid address", "mailbox_unavailable", "valid address"},
		{"full: wait and retry", "mailbox_full", "wait tried again"},
		{"full: tell the recipient otherwise", "mailbox_full", "phone"},
		{"full: tell the recipient otherwise", "Mailbox Full", "phone social network"},
		{"rate: throttle", "throttled", "lower rate"},
		{"rate: queues and batches", "Rate Limit Issues", "queue batches"},
		{"rate: allow list by the recipient's IT", "Rate Limit Issues", "it department allow list"},
		{"rate: reach the recipient otherwise", "Rate Limit Issues", "another way"},
		{"recipient error: outside senders are blocked", "restricted_recipient", "outside"},
		{"recipient error: reach the recipient otherwise", "Recipient Error", "another channel"},
		{"recipient error: Cloudflare's routing service", "routing_service_fault", "cloudflare"},
		{"recipient error: the retry limit", "expired", "retry limit"},
		{"recipient error: Microsoft 365 tenant's threshold", "tenant_threshold", "microsoft 365 threshold"},
		{"rejection: DNS records of the sending domain", "sender_domain_dns", "dns provider records"},
		{"rejection: the recipient's size limit", "message_too_large", "recipient"},
		{"rejection: too many hops", "too_many_hops", "servers loop"},
		{"rejection: a mail loop", "loop_detected", "circle"},
		{"rejection: poor reputation or invalid MAIL FROM", "sender_rejected", "mail from reputation"},
		{"reputation: blocklists and their removal", "Sender Reputation", "blocklists removal"},
		{"reputation: SPF, DKIM, DMARC, MXToolbox", "Sender Reputation", "spf dkim dmarc mxtoolbox"},
		{"reputation: SNDS and Postmaster Tools", "Sender Reputation", "snds postmaster tools"},
		{"reputation: warm up", "Sender Reputation", "small batches slowly idle"},
		{"reputation: clean lists", "Sender Reputation", "inactive validate segmented"},
		{"reputation: complaints", "Sender Reputation", "reports"},
		{"reputation: content", "Sender Reputation", "subjects images links"},
		{"reputation: unsubscribe, CAN-SPAM, GDPR", "Sender Reputation", "unsubscribe can-spam gdpr"},
	} {
		said := strings.ToLower(e.allSaid(c.id))
		for w := range strings.FieldsSeq(c.words) {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %s does not say %q: %s", c.advice, c.id, w, said)
			}
		}
	}
}

// allSaid is everything that a category or a reason says.
func (e *Engine) allSaid(id string) string {
	if c, ok := e.Gloss(Category(id)); ok {
		return strings.Join(append([]string{c.Definition, c.Cause}, append(c.Fix, c.Links...)...), "\n")
	}
	r, _ := e.Explain(Reason(id))
	return strings.Join(append([]string{r.Definition, r.Cause}, append(r.Fix, r.Links...)...), "\n")
}

// TestGuideNotCopied holds that our data repeats no eight words in a row of the guide. testdata/guide-runs.txt holds the hashes
// of all such runs.
func TestGuideNotCopied(t *testing.T) {
	f, err := os.Open("testdata/guide-runs.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runs := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		runs[lines.Text()] = true
	}
	if len(runs) < 500 {
		t.Fatalf("only %d runs", len(runs))
	}
	e := newEngine(t)
	for _, c := range e.Categories() {
		copied(t, runs, string(c.Name), e.allSaid(string(c.Name)))
	}
	for _, r := range e.Reasons() {
		copied(t, runs, string(r.ID), e.allSaid(string(r.ID)))
	}
	for i := range e.rules {
		for _, x := range e.rules[i].Example {
			copied(t, runs, e.rules[i].ID, x)
		}
	}
	for _, advice := range e.advice {
		for _, a := range advice {
			copied(t, runs, "advice of "+a.Provider, strings.Join(a.Fix, "\n"))
		}
	}
}

func copied(t *testing.T, runs map[string]bool, where, text string) {
	t.Helper()
	words := lettersOf(text)
	for i := 0; i+8 <= len(words); i++ {
		if run := strings.Join(words[i:i+8], " "); runs[hashOf(run)] {
			t.Errorf("%s repeats the guide: %q", where, run)
		}
	}
}

// lettersOf gives the words of a text in lower case, without anything but letters and digits.
func lettersOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

func hashOf(s string) string {
	h := fnv.New64a()
	h.Write([]byte(s))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], h.Sum64())
	const hex = "0123456789abcdef"
	out := make([]byte, 0, 16)
	for _, c := range b {
		out = append(out, hex[c>>4], hex[c&15])
	}
	return string(out)
}

// TestStepsAreSteps holds that each step is something to do, not a remark on what happens by itself.
func TestStepsAreSteps(t *testing.T) {
	e := newEngine(t)
	steps := map[string][]string{}
	for _, r := range e.Reasons() {
		if r.ID != noRefusal {
			steps[string(r.ID)] = slices.Concat(r.Fix, r.FixFinal)
		}
	}
	for _, c := range e.Categories() {
		steps[string(c.Name)] = c.Fix
	}
	for id, fix := range steps {
		for _, step := range fix {
			if first, _, _ := strings.Cut(step, " "); first == "It" || first == "Nothing" || first == "This" {
				t.Errorf("%s: %q is no step", id, step)
			}
		}
	}
}
