package diagnose

import (
	"fmt"
	"strings"
	"testing"
)

// TestBoilerplateSaysNothingBesideACause puts the usual texts of RFC 5321 in front of the example of every
// rule that names a cause, on a line of their own and on the same one: the reason must stay.
func TestBoilerplateSaysNothingBesideACause(t *testing.T) {
	e := newEngine(t)
	forms := []string{"%[1]d-%[2]s\r\n%[1]d %[3]s%[4]s", "%[1]d %[3]s%[2]s: %[4]s", "%[1]d %[3]s%[2]s; %[4]s"}
	tried := 0
	for i := range e.rules {
		r := &e.rules[i]
		for _, example := range r.Example {
			reply := ParseReply(example)
			want := e.Diagnose(Symptom{Reply: reply})
			if r.weight < normalWeight || reply.Class() != 5 || strings.Contains(strings.ToLower(example), "unavailable") {
				continue
			}
			for _, stock := range []string{
				"Requested action not taken: mailbox unavailable", "Requested mail action aborted", "Transaction failed",
				"Message rejected",
			} {
				for _, form := range forms {
					enhanced := reply.Enhanced.String()
					if enhanced != "" {
						enhanced += " "
					}
					said := fmt.Sprintf(form, reply.Code, stock, enhanced, reply.Text)
					tried++
					if d := e.Diagnose(Symptom{Reply: ParseReply(said)}); d.Reason != want.Reason {
						t.Errorf("%q is %s by %s, without %q it is %s by %s",
							said, d.Reason, d.Rule, stock, want.Reason, want.Rule)
					}
				}
			}
		}
	}
	if tried < 3000 {
		t.Errorf("only %d replies", tried)
	}
}

// TestOfSeveralLinesTheSpecificOneSpeaks holds for replies as servers give them.
func TestOfSeveralLinesTheSpecificOneSpeaks(t *testing.T) {
	e := newEngine(t)
	const rfc = "550-Requested action not taken: mailbox unavailable\r\n550 "
	const pointer = ". For more information, please check the inbox of the email address associated with your account."
	for _, tt := range []struct {
		reply string
		want  Reason
	}{
		{rfc + "invalid DNS MX or A/AAAA resource record", "sender_domain_dns"},
		{"550 Requested action not taken: mailbox unavailable; invalid DNS MX or A/AAAA record", "sender_domain_dns"},
		{rfc + "Failure sending mail. Try again later", "server_unavailable"},
		{rfc + "Sender address is not allowed.", "send_as_denied"},
		{"550 Requested action not taken: mailbox unavailable - Sender address is not allowed.", "send_as_denied"},
		{rfc + "Zork nargle frobnicated", refusedUnexplained},
		{"550 5.1.1 Requested action not taken: mailbox unavailable", userUnknown},
		{"554 Message rejected: zork nargle" + pointer, refusedUnexplained},
	} {
		if d := e.Diagnose(Symptom{Reply: ParseReply(tt.reply)}); d.Reason != tt.want {
			t.Errorf("%q is %s by %s, want %s", tt.reply, d.Reason, d.Rule, tt.want)
		}
	}
}
