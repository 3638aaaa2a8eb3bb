package smtptest

import (
	"regexp"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
)

// Case is a named behaviour of a practice upstream. A recipient asks for it by its local part.
type Case struct {
	Name     string
	About    string            // what it rehearses
	Category diagnose.Category // that the guide gives its reply; empty where it gives none
	Stage    diagnose.Stage    // at which it shows: StageRcpt or StageEndOfData
	Reply    string            // {to}, {from} and {domain} (of from) are filled in
	Delay    time.Duration
	End      End
	Once     bool // only the first time for each sender and recipient
}

// Cases are the named behaviours: what the large providers and the common servers really answer, at the stage
// at which they do.
func Cases() []Case {
	return append(guideCases(), otherCases()...)
}

// guideCases are at least one for each category of the guide.
func guideCases() []Case {
	const rcpt, content = diagnose.StageRcpt, diagnose.StageEndOfData
	return []Case{
		{
			Name:     "unknown",
			About:    "Gmail: no such account",
			Category: diagnose.InvalidAddress,
			Stage:    rcpt,
			Reply: "550-5.1.1 The email account that you tried to reach does not exist. Please try\n" +
				"550-5.1.1 double-checking the recipient's email address for typos or\n" +
				"550-5.1.1 unnecessary spaces. For more information, go to\n" +
				"550 5.1.1  https://support.google.com/mail/?p=NoSuchUser - gsmtp",
		},
		{
			Name:     "inactive",
			About:    "Gmail: account disabled",
			Category: diagnose.InvalidAddress,
			Stage:    rcpt,
			Reply: "550-5.2.1 The email account that you tried to reach is inactive. For more\n" +
				"550-5.2.1 information, go to\n" +
				"550 5.2.1  https://support.google.com/mail/?p=DisabledUser - gsmtp",
		},
		{
			Name:     "nomailbox",
			About:    "Outlook.com: mailbox unavailable",
			Category: diagnose.MailboxIssues,
			Stage:    rcpt,
			Reply:    "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
		},
		{
			Name:     "full",
			About:    "Gmail: out of storage, for now",
			Category: diagnose.MailboxFull,
			Stage:    rcpt,
			Reply: "452-4.2.2 The recipient's inbox is out of storage space. Please direct the\n" +
				"452-4.2.2 recipient to\n" +
				"452 4.2.2  https://support.google.com/mail/?p=OverQuotaTemp - gsmtp",
		},
		{
			Name:     "overquota",
			About:    "Gmail: out of storage, for good",
			Category: diagnose.MailboxFull,
			Stage:    rcpt,
			Reply: "552-5.2.2 The recipient's inbox is out of storage space and inactive. Please\n" +
				"552-5.2.2 direct the recipient to\n" +
				"552 5.2.2  https://support.google.com/mail/?p=OverQuotaPerm - gsmtp",
		},
		{
			Name:     "dmarc",
			About:    "Gmail: the sender's domain asks for rejection",
			Category: diagnose.DMARCErrors,
			Stage:    content,
			Reply: "550-5.7.26 Unauthenticated email from {domain} is not accepted due to domain's\n" +
				"550-5.7.26 DMARC policy. Please contact the administrator of {domain} domain if\n" +
				"550-5.7.26 this was a legitimate mail. To learn about the DMARC initiative, go to\n" +
				"550 5.7.26  https://support.google.com/mail/?p=DmarcRejection - gsmtp",
		},
		{
			Name:     "dmarc365",
			About:    "Microsoft 365: the same",
			Category: diagnose.DMARCErrors,
			Stage:    content,
			Reply: "550 5.7.509 Access denied, sending domain [{domain}] does not pass DMARC " +
				"verification and has a DMARC policy of reject.",
		},
		{
			Name:     "ratelimit",
			About:    "Gmail: the recipient gets too much mail at once",
			Category: diagnose.RateLimitIssues,
			Stage:    rcpt,
			Reply: "450-4.2.1 The user you are trying to contact is receiving email at a rate that\n" +
				"450-4.2.1 prevents additional messages from being delivered. Please resend your\n" +
				"450-4.2.1 message at a later time. For more information, go to\n" +
				"450 4.2.1  https://support.google.com/mail/?p=ReceivingRatePerm - gsmtp",
		},
		{
			Name:     "throttled",
			About:    "Amazon SES: the account's own rate is used up",
			Category: diagnose.RateLimitIssues,
			Stage:    content,
			Reply:    "454 Throttling failure: Maximum sending rate exceeded.",
		},
		{
			Name:     "closing",
			About:    "a server that ends the session with 221",
			Category: diagnose.RateLimitIssues,
			Stage:    rcpt,
			End:      EndClose,
			Reply:    "221 2.7.0 Too many messages in this session, closing connection",
		},
		{
			Name:     "blocked",
			About:    "Gmail: forbidden attachment",
			Category: diagnose.Blocked,
			Stage:    content,
			Reply: "552-5.7.0 This message was blocked because its content presents a potential\n" +
				"552-5.7.0 security issue. To review our message content and attachment content\n" +
				"552-5.7.0 guidelines, go to\n" +
				"552 5.7.0  https://support.google.com/mail/?p=BlockedMessage - gsmtp",
		},
		{
			Name:     "policy",
			About:    "Microsoft 365: a mail flow rule of the organization",
			Category: diagnose.Blocked,
			Stage:    content,
			Reply: "550 5.7.1 TRANSPORT.RULES.RejectMessage; " +
				"the message was rejected by organization policy",
		},
		{
			Name:     "toolarge",
			About:    "Gmail: over the size limit",
			Category: diagnose.Blocked,
			Stage:    content,
			Reply: "552-5.3.4 Your message exceeded Google's message size limits. To view our message\n" +
				"552-5.3.4 size guidelines, go to\n" +
				"552 5.3.4  https://support.google.com/mail/?p=MaxSizeError - gsmtp",
		},
		{
			Name:     "loop",
			About:    "Microsoft 365: too many hops",
			Category: diagnose.RejectionErrors,
			Stage:    content,
			Reply:    "554 5.4.14 Hop count exceeded - possible mail loop ATTR34",
		},
		{
			Name:     "nodns",
			About:    "Postfix: the sender's domain does not exist",
			Category: diagnose.RejectionErrors,
			Stage:    rcpt,
			Reply:    "450 4.1.8 <{from}>: Sender address rejected: Domain not found",
		},
		{
			Name:     "unverified",
			About:    "Amazon SES: the sender is not verified",
			Category: diagnose.RejectionErrors,
			Stage:    content,
			Reply: "554 Message rejected: Email address is not verified. The following identities " +
				"failed the check in region US-EAST-1: {from}",
		},
		{
			Name:     "reputation",
			About:    "Gmail: poor reputation of the sending address",
			Category: diagnose.SenderReputation,
			Stage:    content,
			Reply: "550-5.7.1 [192.0.2.25] Gmail has detected that this message is likely suspicious\n" +
				"550-5.7.1 due to the very low reputation of the sending IP address. To best\n" +
				"550-5.7.1 protect our users from spam, the message has been blocked. For more\n" +
				"550-5.7.1 information, go to\n" +
				"550 5.7.1  https://support.google.com/mail/answer/188131 - gsmtp",
		},
		{
			Name:     "blocklist",
			About:    "Postfix: on the Spamhaus blocklist",
			Category: diagnose.SenderReputation,
			Stage:    rcpt,
			Reply: "554 5.7.1 Service unavailable; Client host [192.0.2.25] blocked using " +
				"zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.25",
		},
		{
			Name:     "denied",
			About:    "Microsoft 365: the group takes no mail from outside",
			Category: diagnose.RecipientError,
			Stage:    rcpt,
			Reply: "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; " +
				"Delivery restriction check failed because the sender was not authenticated when " +
				"sending to this group",
		},
		{
			Name:     "expired",
			About:    "Microsoft 365: given up after its own retries",
			Category: diagnose.RecipientError,
			Stage:    rcpt,
			Reply:    "550 5.4.316 Message expired, connection refused(Socket error code 10061)",
		},
		{
			Name:     "noauth",
			About:    "Gmail: credentials are missing",
			Category: diagnose.RecipientError,
			Stage:    rcpt,
			Reply: "530-5.7.0 Authentication Required. For more information, go to\n" +
				"530 5.7.0  https://support.google.com/mail/?p=WantAuthError - gsmtp",
		},
	}
}

// otherCases are those on which the guide is silent.
func otherCases() []Case {
	const rcpt, content = diagnose.StageRcpt, diagnose.StageEndOfData
	return []Case{
		{
			Name:  "greylist",
			About: "Postgrey: accepts on the second try",
			Stage: rcpt,
			Once:  true,
			Reply: "450 4.2.0 <{to}>: Recipient address rejected: Greylisted, see " +
				"http://postgrey.schweikert.ch/help/example.com.html",
		},
		{
			Name:  "busy",
			About: "Gmail: try again later, and the connection is closed",
			Stage: rcpt,
			End:   EndClose,
			Reply: "421 4.7.0 Try again later, closing connection. - gsmtp",
		},
		{Name: "slow", About: "accepts after ten seconds", Stage: content, Delay: 10 * time.Second},
		{
			Name:  "drop",
			About: "closes the connection after the content, without a reply",
			Stage: content,
			End:   EndClose,
		},
		{Name: "reset", About: "resets the connection at RCPT", Stage: rcpt, End: EndReset},
	}
}

// maxSeen is how many pairs of sender and recipient a practice upstream remembers for its Once cases.
const maxSeen = 10_000

// practice is the Script's state.
type practice struct {
	cases map[string]Case

	mu   sync.Mutex
	seen map[string]bool // sender and recipient that a Once case refused
}

// Practice is the Script of a practice upstream: it does what the recipients' local parts ask for, and
// accepts the rest. A local part is a case's name or a reply's codes, such as 550 or 550-5.1.1, and then any
// number of tags:
//
//	unknown@any.test            the named case
//	452-4.2.2@any.test          that reply to RCPT
//	452-4.2.2+data@any.test     that reply to the content; when several recipients ask, the first one's
//	451-4.3.0+once@any.test     only the first time for this sender and recipient
//	full+user17@any.test        further tags make addresses differ
func Practice() func(Command) Action {
	p := &practice{cases: make(map[string]Case), seen: make(map[string]bool)}
	for _, c := range Cases() {
		p.cases[c.Name] = c
	}
	return p.script
}

// script implements Options.Script.
func (p *practice) script(cmd Command) Action {
	switch {
	case cmd.Stage == diagnose.StageRcpt && cmd.Arrived != nil:
		return p.at(cmd.Stage, cmd.Arrived.From, cmd.Address)
	case cmd.Stage == diagnose.StageEndOfData:
		for _, r := range cmd.Arrived.To {
			if a := p.at(cmd.Stage, cmd.Arrived.From, r.Address); !a.IsZero() {
				return a
			}
		}
	}
	return Action{}
}

// at is what a recipient asks for at a stage.
func (p *practice) at(stage diagnose.Stage, from, to string) Action {
	c, ok := p.asked(to)
	if !ok || c.Stage != stage || (c.Once && !p.first(from+"\x00"+to)) {
		return Action{}
	}
	_, domain, _ := strings.Cut(from, "@")
	fill := strings.NewReplacer("{to}", to, "{from}", from, "{domain}", domain)
	return Action{Delay: c.Delay, Reply: fill.Replace(c.Reply), End: c.End}
}

// codes is a local part that asks for a reply by its codes.
var codes = regexp.MustCompile(`^([2-7][0-9][0-9])(?:-([0-9]\.[0-9]{1,3}\.[0-9]{1,3}))?$`)

// asked reads a recipient's local part.
func (p *practice) asked(to string) (Case, bool) {
	local, _, _ := strings.Cut(strings.ToLower(to), "@")
	name, tags, _ := strings.Cut(local, "+")
	c, ok := p.cases[name]
	if !ok {
		m := codes.FindStringSubmatch(name)
		if m == nil {
			return Case{}, false
		}
		c = coded(m[1], m[2])
	}
	for tag := range strings.SplitSeq(tags, "+") {
		switch tag {
		case "data":
			c.Stage = diagnose.StageEndOfData
		case "once":
			c.Once = true
		}
	}
	return c, true
}

// coded is a reply by its codes. Its wording says nothing, so that a diagnosis must rest on the codes.
func coded(code, enhanced string) Case {
	c := Case{Stage: diagnose.StageRcpt, Reply: code + " Practice reply"}
	if enhanced != "" {
		c.Reply = code + " " + enhanced + " Practice reply"
	}
	if code == "221" || code == "421" { // RFC 5321, 3.8 and 4.2.2
		c.End = EndClose
	}
	return c
}

// first reports whether a pair was not seen before. Past maxSeen it starts afresh, so that its memory is
// bounded.
func (p *practice) first(pair string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[pair] {
		return false
	}
	if len(p.seen) >= maxSeen {
		clear(p.seen)
	}
	p.seen[pair] = true
	return true
}
