// Package diagnose says what an SMTP refusal means and what to do about it.
//
// It is a pure function from a Symptom (what was said, where, about which message) to a Diagnosis (category,
// reason, cause, fix, who must act). The relay calls it for each refused attempt, the DSN and the delivery
// log carry its answer, and `mailwhy diagnose` and `mailwhy guide` print it. It does no I/O, keeps no state
// between calls and is safe for concurrent use; the same Symptom always gets the same Diagnosis.
//
// What it knows is data, not code: guide.toml (categories, reasons, providers, blocklists, and the tables of
// codes), rules.toml (wordings) and told.toml (what providers tell later). A user's own rules, in the same
// form, add to them or override them by id.
//
// How an answer is found:
//
//  1. ParseReply takes the reply apart (RFC 5321, 4.2; RFC 2034; RFC 3463) and keeps its bytes.
//  2. The wording becomes a row of words: lower case, accents folded, one wrong letter in a key word
//     corrected where the result is not a word of its own. What the reply names (addresses, hosts,
//     numbers, paths, references, header fields, checks that passed) is separated from what it says.
//  3. One pass finds the phrases of all rules at once, in a trie of words, so that the time hardly depends
//     on the number of rules and is linear in the text. Beside a wording that names a cause, boilerplate
//     does not count.
//  4. Every rule that holds is a signal with a weight. Signals of one category support each other; the
//     (code, enhanced code) pair of the guide's table, the enhanced code and the basic code count last and
//     little, and decide only when the wording says nothing. They never make an address be given up.
//  5. Of what a provider tells after it took the mail (the stage remote), its own type counts as well: where
//     no reply is quoted, and where the reply leaves the cause open (told.toml).
//  6. The reason that won decides scope, owner and fix; stage, provider and facts of the message make them
//     specific.
//
// What always holds: Diagnose answers every Symptom; every 4yz, 5yz and 221 has a category of the guide; a
// failure that came without a reply is a Connection Failure unless its wording says more; basis and
// confidence say what the answer rests on; nothing in a Diagnosis grows with the length of the reply; only
// the words of a permanent reply about this recipient say to remove the address (ActionRemoveAddress), or a
// provider that has a word of its own for it; what is told later never has ScopeUpstream.
package diagnose

import (
	"slices"
	"strings"
)

// Diagnose says what a symptom means. It answers every symptom.
func (e *Engine) Diagnose(s Symptom) Diagnosis {
	if s.Stage == StageRemote && s.Facts.Complaint {
		return e.complaint(&s)
	}
	if code := s.Reply.Code; code != 0 && code < 400 && code != 221 {
		return e.explain(&s, noRefusal, "", BasisCode, High, "code class 2")
	}
	text := s.Reply.Text
	if s.Reply.Code == 0 {
		text = s.Text + " " + s.NetErr.Text
		if s.Text == "" && s.NetErr.Text == "" {
			text = s.Reply.Text
		}
	}
	r := e.rows.Get().(*row)
	defer e.rows.Put(r)
	f := e.read(r, text, &s)
	d, top := e.judge(&s, &f)
	if s.Stage == StageRemote {
		e.heed(&s, &d, text, top)
	} else {
		e.overrule(&s, &d, text)
	}
	e.keep(&s, &d, &f, top)
	e.addFacts(&s, &d, &f, r, text)
	e.specialise(&s, &d)
	return d
}

// judge weighs the signals and fills in the diagnosis. top is the wording that it rests on, if any.
func (e *Engine) judge(s *Symptom, f *finding) (d Diagnosis, top signal) {
	b := e.count(s, f)
	if s.Reply.Code == 0 && s.NetErr.Kind != NetNone {
		return e.judgeNetwork(s, b, f), signal{}
	}
	v := b.winner()
	if v == nil {
		return e.judgeNothing(s), signal{}
	}
	reason, rule, basis := e.reasonOf(v)
	conf, category := e.confidence(v, b, f), v.category
	if f.doubt && e.removes(reason) {
		conf = lesser(conf, Medium)
	}
	switch {
	case e.unexplained(s, f, v, reason):
		reason, conf = f.unexplainedReason(), Low
		category = e.reasons[reason].Category
		if f.unread {
			rule = unreadBeside + pairKey(s.Reply.Code, s.Reply.Enhanced)
		}
	case f.unread && basis == BasisEnhanced && reason == serverUnavailable && s.Reply.Enhanced.Subject == 7:
		reason = refusedUnexplained // a code of policy, as 4.7.1, does not say that the server is busy
	case basis != BasisText && conf == Low && !f.unread && e.removes(reason) && e.namesAddress(s):
		conf = Medium
	}
	if reason == refusedUnexplained && f.unread && basis != BasisText && afterContent(s) {
		reason, category = policyRejected, Blocked // whatever it says, it says it of this message
	}
	d = e.explain(s, reason, category, basis, conf, rule)
	d.Alternatives = e.alternatives(s, v, b, &d)
	if basis == BasisText {
		top = v.top
	}
	return d, top
}

// afterContent reports whether the content was refused for good.
func afterContent(s *Symptom) bool { return s.Stage == StageEndOfData && s.Reply.Class() == 5 }

// judgeNetwork diagnoses a failure of a known kind. Only the words of a token endpoint and of an HTTP API
// make it more precise.
func (e *Engine) judgeNetwork(s *Symptom, b ballot, f *finding) Diagnosis {
	reason, ok := e.network[s.NetErr.Kind]
	if !ok {
		reason = networkFailure
	}
	rule := "network " + string(s.NetErr.Kind)
	if e.reasons[s.NetErr.Reason] != nil {
		return e.explain(s, s.NetErr.Reason, "", BasisNetwork, High, rule)
	}
	v := b.winner()
	if v == nil || v.top.rule == nil || e.reasons[v.top.rule.Reason] == nil {
		return e.explain(s, reason, "", BasisNetwork, High, rule)
	}
	switch said := v.top.rule; {
	case reason == oauthTokenFailed && v.category == ConnectionFailure:
		return e.explain(s, said.Reason, "", BasisNetwork, High, said.ID)
	case s.NetErr.Kind == NetAPI:
		return e.explain(s, said.Reason, "", BasisText, e.confidence(v, b, f), said.ID)
	}
	return e.explain(s, reason, "", BasisNetwork, High, rule)
}

// judgeNothing answers where no table and no rule has anything to say.
func (e *Engine) judgeNothing(s *Symptom) Diagnosis {
	switch {
	case s.Reply.Code == 0 && s.Text == "" && s.Reply.Text == "":
		return e.explain(s, networkFailure, "", BasisNetwork, Low, "no reply")
	case s.Reply.Code == 0:
		return e.explain(s, unknownReason, "", BasisText, Low, "no rule")
	}
	return e.explain(s, unknownReason, "", BasisCode, Low, "code class")
}

// explain fills in what a reason says.
func (e *Engine) explain(
	s *Symptom, reason Reason, c Category, basis Basis, conf Confidence, rule string,
) Diagnosis {
	info := e.reasons[reason]
	if c == "" {
		c = info.Category
	}
	if c == ConnectionFailure && s.Reply.Code != 0 {
		c = RecipientError
	}
	return Diagnosis{Category: c, InGuide: c.InGuide(), Reason: reason, Cause: info.Cause, Fix: info.steps(s),
		Scope: info.Scope, Owner: info.Owner, Action: info.Action, Basis: basis, Confidence: conf, Rule: rule,
		Links: slices.Clone(info.Links)}
}

// become changes the reason of d and what follows from it; the category stays.
func (e *Engine) become(s *Symptom, d *Diagnosis, reason Reason, basis Basis, rule string) {
	info := e.reasons[reason]
	d.Reason, d.Cause, d.Fix, d.Links = reason, info.Cause, info.steps(s), slices.Clone(info.Links)
	d.Scope, d.Owner, d.Action, d.Basis, d.Rule = info.Scope, info.Owner, info.Action, basis, rule
}

// overrule lets the stage correct what the wording or a table alone suggests.
func (e *Engine) overrule(s *Symptom, d *Diagnosis, text string) {
	if s.Reply.Code == 0 || d.Reason == noRefusal {
		return
	}
	temporary := s.Reply.Class() == 4
	switch s.Stage {
	case StageAuth:
		switch {
		case d.Scope == ScopeUpstream:
		case d.Reason == protocolError && d.Basis == BasisText:
			e.ofUpstream(s, d)
		case d.Reason == accountInactive && d.Basis == BasisText: // ours
			e.become(s, d, accountSuspended, d.Basis, d.Rule)
		case s.Reply.Code == 504: // of AUTH: the mechanism (RFC 4954, 4)
			e.become(s, d, authMechanism, BasisStage, "stage auth")
			d.Category = e.reasons[authMechanism].Category
		case s.Reply.Code == 504: // of AUTH: the mechanism (RFC 4954, 4)
			e.become(s, d, authMechanism, BasisStage, "stage auth")
			d.Category = e.reasons[authMechanism].Category
		case s.Reply.Code == 504: // of AUTH: the mechanism (RFC 4954, 4)
			e.become(s, d, authMechanism, BasisStage, "stage auth")
			d.Category = e.reasons[authMechanism].Category
		default:
			e.become(s, d, pick(temporary, authTemporary, authFailed), BasisStage, "stage auth")
			if d.Confidence == Low { // what a table says of the code says nothing about a login
				d.Category = e.reasons[d.Reason].Category
			}
		}
	case StageConnect, StageGreeting, StageHello, StageTLS:
		switch {
		case e.aboutServer(d):
			e.ofUpstream(s, d)
		case s.Stage == StageHello && !temporary && d.Confidence == Low: // all that EHLO says is our name
			e.become(s, d, badHello, BasisStage, "stage ehlo")
			d.Category = e.reasons[badHello].Category
		case d.Scope == ScopeRecipient, d.Scope == ScopeMessage:
			reason := pick(temporary, sessionDeferred, sessionRefused)
			e.become(s, d, reason, BasisStage, "stage "+string(s.Stage))
		}
		d.Scope = ScopeUpstream
	case StageMail:
		switch {
		case d.Reason == mailboxFull && d.Basis == BasisText: // no recipient is named yet: it is ours
			e.become(s, d, ReasonQuotaExceeded, d.Basis, d.Rule)
			d.Category = e.reasons[d.Reason].Category
		case temporary:
		case e.aboutServer(d):
			e.ofUpstream(s, d)
		case aboutDomain(d): // no other domain has been named yet
			e.become(s, d, senderDomainDNS, d.Basis, d.Rule)
			d.Category = e.reasons[d.Reason].Category
		case d.Reason == senderRejected && d.Basis == BasisText:
			d.Owner, d.Fix = OwnerOperator, e.reasons[mailRefused].steps(s) // it is the upstream's own word
		case aboutSender(d):
			e.become(s, d, mailRefused, BasisStage, "stage mail")
		}
	default:
		switch quoted := quotesAnother(text); {
		case d.Scope == ScopeUpstream && quoted:
			d.Scope, d.Owner = ScopeRecipient, OwnerRecipientAdmin
		case d.Scope == ScopeRecipient && answersAuth(s.Reply.Code) && !quoted:
			e.become(s, d, authFailed, BasisStage, "stage auth")
		}
	}
}

// aboutServer reports whether d is about the server that speaks and was read in the words or in an enhanced
// code: before a recipient is named that server is the upstream.
func (e *Engine) aboutServer(d *Diagnosis) bool {
	return e.reasons[d.Reason].Server && (d.Basis == BasisText || d.Basis == BasisEnhanced)
}

// ofUpstream makes d one about the upstream, whose provider has to act where a recipient's administrator had.
func (e *Engine) ofUpstream(s *Symptom, d *Diagnosis) {
	d.Scope = ScopeUpstream
	if d.Owner == OwnerRecipientAdmin {
		d.Owner, d.Fix = OwnerUpstreamProvider, e.reasons[sessionDeferred].steps(s)
	}
}

// answersAuth reports whether a basic code is one that only AUTH gets (RFC 4954, 6).
func answersAuth(code int) bool { return code == 534 || code == 535 || code == 538 }

// aboutSender reports whether d, a permanent refusal of MAIL, is about the account or the sender, whatever
// its words seem to say: no recipient has been named yet, and of the message only its size and the
// extensions that it needs (RFC 5321, 3.3).
func aboutSender(d *Diagnosis) bool {
	switch d.Scope {
	case ScopeRecipient:
		return true
	case ScopeMessage:
		return d.Reason != tooLarge && d.Reason != featureUnsupported
	}
	return d.Reason == senderRejected
}

// aboutDomain reports whether d finds the fault in the DNS of a domain.
func aboutDomain(d *Diagnosis) bool {
	return d.Basis == BasisText && (d.Reason == domainUnknown || d.Reason == recipientMXFault)
}

func pick(first bool, a, b Reason) Reason {
	if first {
		return a
	}
	return b
}

// quotesAnother reports whether a text is one server's report of what another one said.
func quotesAnother(text string) bool {
	return strings.Contains(text, " said: ") || strings.Contains(text, "remote server returned") ||
		strings.Contains(text, "Remote Server returned") || strings.Contains(text, " returned '")
}

// Whoever reads the answer, often a program, deletes the address, and it is hard to get back. So the action
// remove_address needs a permanent reply whose wording finds the fault in this address and was understood: by
// a rule of the band normal or a higher one, or by a vaguer one that the enhanced code bears out. No code
// says it alone, and beside a word that may mean another fault (doubts in guide.toml) nothing does. An answer
// that falls short keeps its reason and says wait.

// removes reports whether the action of a reason is to remove the address.
func (e *Engine) removes(r Reason) bool { return e.reasons[r].Action == ActionRemoveAddress }

// blames reports whether a reason finds the fault in the address, for the application to correct.
func (e *Engine) blames(r Reason) bool {
	info := e.reasons[r]
	return info.Scope == ScopeRecipient && info.Owner == OwnerApplication
}

// unexplained reports whether the reason of a table must not be given: it would remove the address, or blame
// it by a code that the enhanced code does not bear out, beside words that no rule knows, or after the
// content, where a code says nothing about an address (RFC 5321, 4.2.3).
func (e *Engine) unexplained(s *Symptom, f *finding, v *vote, reason Reason) bool {
	row := e.enhancedRow(s.Reply.Enhanced)
	borneOut := row != nil && e.blames(row.Reason)
	if !e.removes(reason) && (borneOut || !e.blames(reason)) {
		return false
	}
	if v.basis == BasisText {
		return f.unread && v.top.boilerplate
	}
	if e.namesAddress(s) {
		return false // the code says what the words may only repeat; the address is kept all the same
	}
	return f.unread || s.Stage == StageEndOfData
}

// unexplainedReason is the reason where the words were not understood: they may still name the recipient, and
// nobody else.
func (f *finding) unexplainedReason() Reason {
	if f.unread && f.recipient && !f.other {
		return recipientRejected
	}
	return refusedUnexplained
}

// namesAddress reports whether the enhanced code says of the address itself that it is at fault (RFC 3463,
// 3.2 and 3.3).
func (e *Engine) namesAddress(s *Symptom) bool {
	row := e.enhancedRow(s.Reply.Enhanced)
	return row != nil && row.Address
}

// keep replaces the advice to remove the address where that is not certain enough. top is the wording that
// the answer rests on, if any.
func (e *Engine) keep(s *Symptom, d *Diagnosis, f *finding, top signal) {
	switch {
	case d.Action != ActionRemoveAddress:
		return
	case s.Reply.Class() == 4, s.Reply.Code == 0 && s.Reply.Enhanced.Class == 4,
		s.Reply.Code == 0 && s.Stage == StageRemote && !s.Final: // the upstream goes on trying
		d.Fix = slices.Clone(e.keepNow)
	case e.certain(s, d, f, top):
		return
	default:
		d.Fix = slices.Clone(e.keepUnsure)
	}
	d.Action = ActionWait
}

// certain reports whether the answer may say that the address should be removed.
func (e *Engine) certain(s *Symptom, d *Diagnosis, f *finding, top signal) bool {
	switch {
	case d.Scope != ScopeRecipient || d.Confidence == Low:
		return false
	case d.Basis == BasisNetwork: // the domain itself says that it accepts no mail (RFC 7505)
		return true
	case d.Basis == BasisProvider: // it says so in a word of its own that means nothing else
		return d.Confidence == High
	case d.Basis != BasisText || top.rule == nil || f.doubt:
		return false
	case e.namesAddress(s):
		return s.Stage != StageEndOfData || d.Reason != domainUnknown // RCPT was accepted: a sender's, maybe
	case s.Stage == StageEndOfData && top.rule.weight < strongWeight: // so the words may mean another one
		return false
	case top.boilerplate: // RFC 5321 (4.2.3): to RCPT, 550 with its own text means that there is no mailbox
		return s.Stage == StageRcpt && s.Reply.Code == 550 && top.rule.weight >= normalWeight
	}
	return top.rule.weight >= normalWeight
}
