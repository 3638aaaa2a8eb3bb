package upstream

import "strings"

// upstreamID finds the id of the message in the reply to the final dot, in the wordings of common servers
// and providers; "" if there is none.
func upstreamID(text string) string {
	lower := strings.ToLower(text)
	for _, lead := range []string{
		"queued as ", "queued as: ", "queued mail with id ", "ok id=", "message queued (",
	} {
		if i := strings.Index(lower, lead); i >= 0 && len(lower) == len(text) {
			return token(text[i+len(lead):]) // Postfix, SendGrid, Mailjet, Brevo, mailwhy; Exim; Haraka
		}
	}
	words := strings.Fields(text)
	switch {
	case len(words) == 0:
		return ""
	// Exchange: <id> [InternalId=n, Hostname=h] Queued mail for delivery
	case strings.Contains(lower, "[internalid="):
		return token(words[0])
	case words[len(words)-1] == "gsmtp" && len(words) >= 4: // Gmail: OK  time id - gsmtp
		return token(words[len(words)-3])
	case strings.Contains(lower, "accepted for delivery") && hasDigit(words[0]): // Sendmail, OpenSMTPD
		return token(words[0])
	case len(words) == 2 && strings.EqualFold(words[0], "ok") && hasDigit(words[1]): // SES, SparkPost
		return token(words[1])
	case len(words) == 4 && strings.EqualFold(words[0], "ok") && words[2] == "qp": // qmail: ok time qp pid
		return words[1] + " qp " + words[3]
	}
	return ""
}

// token is the first word of s without punctuation around it.
func token(s string) string {
	f := strings.Fields(s)
	if len(f) == 0 {
		return ""
	}
	return strings.Trim(f[0], "<>()[];,.\"'")
}

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }
