package bounce

import "strings"

// Kind is what a mail is. The order of the constants is not that of the decision, which is classify's.
type Kind string

// The kinds.
const (
	KindFailure   Kind = "failure"    // somebody did not get the message, and will not
	KindDelay     Kind = "delay"      // it is still being tried
	KindSuccess   Kind = "success"    // it was delivered, relayed or expanded
	KindComplaint Kind = "complaint"  // a recipient, or a receiver's filter, complains about the message
	KindReceipt   Kind = "receipt"    // a disposition notification (RFC 8098)
	KindAutoReply Kind = "auto_reply" // what a program answers for a person (RFC 3834)
	KindReply     Kind = "reply"      // what a person answers
	KindNone      Kind = "none"       // other mail
)

// classify decides what a mail is, and reads it. What a mail reports for programs comes first, then the sign
// of an automatic answer, then what it says in words. What came back in a report is not looked at: a message
// that was returned may well be a report of its own. Only where a mail says nothing itself, what was
// forwarded in it is asked.
func (d *document) classify(root *part) {
	d.report.Kind = KindNone
	if d.reports(root) {
		return
	}
	d.report.Kind = root.answer()
}

// reports reads the message m as a report, or what was forwarded in it, and reports whether it is one.
func (d *document) reports(m *part) bool {
	own, forwarded := m.within(nil, nil)
	if d.forPrograms(own) {
		return true
	}
	sure := m.answer() != KindAutoReply && m.isBounce()
	if sure && d.inWords(m, true) {
		return true
	}
	for _, f := range forwarded {
		if d.reports(f) {
			return true
		}
	}
	return sure && d.inWords(m, false)
}

// within appends the parts of a message to own, p first, and the messages that are in it to forwarded.
func (p *part) within(own, forwarded []*part) ([]*part, []*part) {
	own = append(own, p)
	for i := range p.parts {
		if p.isMessage() {
			forwarded = append(forwarded, &p.parts[i])
		} else {
			own, forwarded = p.parts[i].within(own, forwarded)
		}
	}
	return own, forwarded
}

// forPrograms reads what the parts of a message report for programs, and reports whether they do.
func (d *document) forPrograms(parts []*part) bool {
	for _, p := range parts {
		if f := p.feedback(); f != nil {
			d.report.Kind, d.report.Complaint = KindComplaint, f
			return true
		}
	}
	for _, s := range parts[0].ownStatuses(nil) {
		d.report.Notifications = append(d.report.Notifications, s.notification())
	}
	if len(d.report.Notifications) > 0 {
		d.namedInWords(parts[0])
		d.report.Kind = d.worst()
		return true
	}
	if r := receiptIn(parts); r != nil && !(r.refuses() && parts[0].isBounce()) {
		d.report.Kind = KindReceipt
		return true
	}
	return false
}

// receiptIn is the disposition notification among the parts of a message, or what should be one, or nil.
func receiptIn(parts []*part) *part {
	for _, p := range parts {
		if p.isReceipt() {
			return p
		}
	}
	if p := parts[0]; p.kind == "multipart/report" && p.reportType() == "disposition-notification" {
		return p
	}
	return nil
}

// refuses reports whether a disposition notification is how Sieve rejects a message (RFC 5429, 2.1.2).
func (p *part) refuses() bool {
	_, disposition, _ := strings.Cut(p.ownFields().line("Disposition"), ";")
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(disposition)), "deleted")
}

// inWords reads p as a report in words. With named it is one only if it names somebody.
func (d *document) inWords(p *part, named bool) bool {
	before := d.recipients
	n := p.inProse()
	if len(n.Recipients) == 0 || named && n.Recipients[0].Address == "" {
		d.recipients = before
		return false
	}
	d.report.Notifications = []Notification{n}
	d.report.Kind = d.worst()
	return true
}

// namedInWords asks the words of a report whose delivery statuses name nobody.
func (d *document) namedInWords(p *part) {
	for _, n := range d.report.Notifications {
		if len(n.Recipients) > 0 {
			return
		}
	}
	if n := p.inProse(); len(n.Recipients) > 0 && n.Recipients[0].Address != "" {
		n.ReportingMTA = d.report.Notifications[0].ReportingMTA
		d.report.Notifications = []Notification{n}
	}
}

// worst is the kind of a report with notifications: a failure where there is one, else a delay, else a
// success. A status that names nobody is taken for a failure.
func (d *document) worst() Kind {
	has := map[Kind]bool{}
	for _, n := range d.report.Notifications {
		for _, r := range n.Recipients {
			has[r.Kind] = true
		}
	}
	for _, k := range [...]Kind{KindFailure, KindDelay, KindSuccess} {
		if has[k] {
			return k
		}
	}
	return KindFailure
}

// isBounce recognises a bounce without a delivery status: by who sent it, together with how it begins or a
// refusal that it quotes; or by words alone that name a recipient as mailers do.
func (p *part) isBounce() bool {
	if p.fromDaemon() {
		return true
	}
	text := p.words()
	subject := strings.ToLower(p.fields.subject())
	says := containsAny(strings.ToLower(shortened(text, maxWording)), openings())
	titled := containsAny(subject, subjects())
	_, refuses := refusalIn(text)
	switch {
	case p.fromSystem():
		return says || titled || refuses
	case isAnswer(subject):
		return false
	}
	return says && titled || titled && refuses || (says || titled) && len(p.doc.peek(p, text)) > 0
}

// fromDaemon reports whether p is from a mailer, which writes nothing but reports.
func (p *part) fromDaemon() bool {
	return p.fields.get("X-Failed-Recipients") != "" || p.isFrom("mailer-daemon", "mail delivery su",
		"mail delivery system", "mailerdaemon", "mdaemon@", "post_master@")
}

// fromSystem reports whether p is from somebody who writes reports, among others, or has the null sender (RFC
// 5321, 4.5.5).
func (p *part) fromSystem() bool {
	return p.kind == "multipart/report" ||
		p.isFrom("postmaster@", "mail administrator", "system administrator") ||
		strings.TrimSpace(p.fields.line("Return-Path")) == "<>" ||
		strings.HasSuffix(strings.TrimSpace(p.fields.line("From")), "<>")
}

// isFrom reports whether one of the names, in lower case, stands in the fields that say who sent p.
func (p *part) isFrom(names ...string) bool {
	return containsAny(strings.ToLower(p.fields.line("From")+" "+p.fields.line("Return-Path")), names)
}

// peek are the recipients that words name; they are not counted.
func (d *document) peek(p *part, text string) []Recipient {
	before := d.recipients
	list := p.named(text)
	d.recipients = before
	return list
}

// answer says whether p answers a message, by a program or by a person, and is KindNone where it does not.
func (p *part) answer() Kind {
	subject := strings.ToLower(p.fields.subject())
	switch {
	case p.fromDaemon():
		return KindNone
	case p.byProgram(subject):
		return KindAutoReply
	case isAnswer(subject), p.fields.get("In-Reply-To") != "":
		return KindReply
	}
	return KindNone
}

// isAnswer reports whether a subject, in lower case, is that of an answer.
func isAnswer(subject string) bool {
	for _, prefix := range [...]string{"re:", "aw:", "sv:", "antw:", "rif:", "ref:"} {
		if strings.HasPrefix(subject, prefix) {
			return true
		}
	}
	return false
}

// byProgram reports whether a program answered: it says so (RFC 3834, 5), in one of the fields that are in
// use besides, or by its subject, here in lower case. What quotes a refusal or begins like a bounce is a
// bounce, although it may say that it is automatic, as Exim's does.
func (p *part) byProgram(subject string) bool {
	auto, _, _ := strings.Cut(p.fields.line("Auto-Submitted"), ";")
	auto = strings.ToLower(strings.TrimSpace(withoutComment(auto)))
	precedence := strings.ToLower(strings.TrimSpace(p.fields.line("Precedence")))
	says := auto == "auto-replied" || precedence == "auto_reply" || p.fields.get("X-Autoreply",
		"X-Autorespond", "X-Autoresponder", "X-MS-Exchange-Inbox-Rules-Loop") != "" ||
		strings.EqualFold(p.fields.line("X-Apple-Action"), "VACATION")
	for _, begins := range autoReplies() {
		says = says || strings.HasPrefix(subject, begins)
	}
	if !says {
		return false
	}
	text := p.words()
	_, refuses := refusalIn(text)
	opening := strings.ToLower(shortened(text, maxWording))
	return !refuses && !containsAny(opening, openings()) && !containsAny(subject, subjects())
}

// autoReplies are how the subjects of automatic answers begin, in lower case.
func autoReplies() []string {
	return []string{
		"automatic reply", "auto reply", "autoreply", "auto-reply", "auto response", "auto-response",
		"autorespon", "out of office", "out of the office", "out-of-office", "vacation", "away from",
		"i am away", "i'm away", "on vacation", "on holiday", "automatische antwort", "abwesenheit",
		"abwesend", "réponse automatique", "respuesta automática", "risposta automatica",
		"resposta automática", "automatisch antwoord", "automatiskt svar", "automatisk svar",
		"automaattinen vastaus", "自動返信", "自動応答",
	}
}
