package upstream

import (
	"regexp"
	"strings"
)

// idForm is a wording of the reply to the final dot, with the id of the message as its first group.
type idForm struct {
	words string // that the lower-case text must contain, so that most forms cost no regular expression
	form  *regexp.Regexp
}

// idForms are the wordings of common servers and providers, the ones that say most first. An id has no blank
// and no angle bracket. Mailgun says "Great success" and no id.
var idForms = []idForm{
	// Yandex: 2.0.0 Ok: queued on HOST as ID
	{"queued on ", regexp.MustCompile(`(?i)queued on \S+ as (\S+)`)},
	// Postfix, SendGrid, Postmark, Mailjet, Brevo, 163, mailwhy: Ok: queued as ID
	{"queued as", regexp.MustCompile(`(?i)queued as:? (\S+)`)},
	{"queued mail with id ", regexp.MustCompile(`(?i)queued mail with id (\S+)`)},
	// IONOS: Requested mail action okay, completed: id=ID; Exim, SMTP2GO: OK id=ID
	{"id=", regexp.MustCompile(`(?i)(?:^ok|completed:) id=(\S+)`)},
	// Haraka: Message Queued (ID)
	{"message queued (", regexp.MustCompile(`(?i)message queued \(([^)\s]+)\)`)},
	// Microsoft 365, submission: OK <ID> [Hostname=HOST]
	// Exchange: <ID> [InternalId=N, Hostname=HOST] Queued mail for delivery
	{"=", regexp.MustCompile(`(?i)^(?:ok )?(\S+) \[(?:internalid|hostname)=`)},
	// Gmail: OK  TIME ID - gsmtp
	{"gsmtp", regexp.MustCompile(`(\S+)\s+-\s+gsmtp$`)},
	// Sendmail, OpenSMTPD: ID Message accepted for delivery
	{"accepted for delivery", regexp.MustCompile(`(?i)^(\S*\d\S*) message accepted for delivery`)},
	// Resend: a bare UUID
	{"-", regexp.MustCompile(`(?i)^(?:ok:? )?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)},
	// qmail: ok TIME qp PID
	{" qp ", regexp.MustCompile(`(?i)^ok (\d+ qp \d+)$`)},
	// SES, SparkPost: Ok ID
	{"ok ", regexp.MustCompile(`(?i)^ok (\S*\d\S*)$`)},
}

// upstreamID finds the id of the message in the text of the reply to the final dot; "" if there is none.
func upstreamID(text string) string {
	lower := strings.ToLower(text)
	for i := range idForms {
		if f := &idForms[i]; strings.Contains(lower, f.words) {
			if m := f.form.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
				return strings.Trim(m[1], "<>()[];,.\"'")
			}
		}
	}
	return ""
}
