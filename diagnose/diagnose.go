package diagnose

import "slices"

// Diagnose says what a symptom means. It answers every symptom.
func (e *Engine) Diagnose(s Symptom) Diagnosis {
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
	d, stock := e.judge(&s, &f)
	e.overrule(&s, &d, text)
	e.keep(&s, &d, &f, stock)
	e.addFacts(&s, &d, &f, r)
	e.specialise(&s, &d)
	return d
}

// The reasons that the code itself refers to; the others live in guide.toml alone.
const (
	noRefusal          Reason = "not_a_refusal"
	unknownReason      Reason = "unexplained"
	refusedUnexplained Reason = "refused_unexplained"
	authFailed         Reason = "auth_failed"
	authTemporary      Reason = "auth_temporary"
	sessionRefused     Reason = "session_refused"
	sessionDeferred    Reason = "session_deferred"
	senderRejected     Reason = "sender_rejected"
	mailRefused        Reason = "mail_refused"
	networkFailure     Reason = "network_failure"
	oauthTokenFailed   Reason = "oauth_token_failed"
	tooLarge           Reason = "message_too_large"
	featureUnsupported Reason = "feature_unsupported"
	userUnknown        Reason = "user_unknown"
)

// judge weighs the signals and fills the diagnosis in. stock tells that it rests on boilerplate alone.
func (e *Engine) judge(s *Symptom, f *finding) (d Diagnosis, stock bool) {
	b := e.count(s, f)
	if s.Reply.Code == 0 && s.NetErr.Kind != NetNone {
		return e.judgeNetwork(s, b), false
	}
	v := b.winner()
	if v == nil {
		return e.judgeNothing(s), false
	}
	reason, rule, basis := e.reasonOf(v)
	conf := e.confidence(v, b, f.words > 0)
	switch {
	case e.unexplained(s, f, v, reason):
		reason, conf = refusedUnexplained, Low
		if f.unread {
			rule = "unread words beside " + pairKey(s.Reply.Code, s.Reply.Enhanced)
		}
	case basis != BasisText && conf == Low && !f.unread && e.removes(reason) && e.namesAddress(s):
		conf = Medium
	}
	d = e.explain(s, reason, v.category, basis, conf, rule)
	d.Alternatives = e.alternatives(s, v, b)
	return d, basis == BasisText && v.top.stock
}

// judgeNetwork diagnoses a failure of a known kind. Its words only make a token error more precise.
func (e *Engine) judgeNetwork(s *Symptom, b ballot) Diagnosis {
	reason, ok := e.network[s.NetErr.Kind]
	if !ok {
		reason = networkFailure
	}
	rule := "network " + string(s.NetErr.Kind)
	if e.reasons[s.NetErr.Reason] != nil {
		return e.explain(s, s.NetErr.Reason, "", BasisNetwork, High, rule)
	}
	if v := b.winner(); reason == oauthTokenFailed && v != nil && v.category == ConnectionFailure && v.top.rule != nil {
		reason, rule = v.top.rule.Reason, v.top.rule.ID
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

// reasonOf names the reason of the winning vote, the rule that decided and what it rests on.
func (e *Engine) reasonOf(v *vote) (Reason, string, Basis) {
	if v.basis == BasisText {
		return v.top.rule.Reason, v.top.rule.ID, BasisText
	}
	if v.top.rule != nil && v.top.weight >= codeWeight {
		return v.top.rule.Reason, v.row, v.basis
	}
	if info := e.reasons[v.reason]; info != nil && info.Category == v.category {
		return v.reason, v.row, v.basis
	}
	if info, ok := e.Gloss(v.category); ok && v.reason == "" {
		return info.Reason, v.row, v.basis
	}
	if v.reason == "" {
		return unknownReason, v.row, v.basis
	}
	return e.fitting(v), v.row, v.basis
}

// fitting gives the reason of a table where it belongs to the category, else the category's own.
func (e *Engine) fitting(v *vote) Reason {
	info := e.reasons[v.reason]
	if info.Category == v.category || slices.Contains(info.Alt, v.category) {
		return v.reason
	}
	gloss, _ := e.Gloss(v.category)
	return gloss.Reason
}

// confidence says how sure the winner is. worded tells that the reply has words: where a table decided all
// the same, nobody understood them, and the guide's pair is then right less than half of the time.
func (e *Engine) confidence(v *vote, b ballot, worded bool) Confidence {
	if v.basis != BasisText {
		if v.conf != "" {
			return v.conf
		}
		if v.basis == BasisPair && v.score >= pairWeight && !worded {
			return Medium
		}
		return Low
	}
	second := 0.0
	for i := range b {
		if o := &b[i]; o.category != v.category && o.top.rule != nil && !slices.Contains(v.top.rule.Alt, o.category) {
			second = max(second, o.top.weight)
		}
	}
	got := Low
	switch {
	case v.top.weight >= sureWeight && v.top.weight-second >= sureMargin:
		got = High
	case v.top.weight >= fairWeight:
		got = Medium
	}
	return lesser(got, v.top.rule.Confidence)
}

// lesser gives the lower of two confidences; limit may be empty.
func lesser(c, limit Confidence) Confidence {
	if limit == Low || limit == Medium && c == High {
		return limit
	}
	return c
}

// maxAlternatives bounds the list of alternatives.
const maxAlternatives = 5

// alternatives lists what else the answer could be: what the rule allows, what other signals say, and what
// the guide's table names for the pair.
func (e *Engine) alternatives(s *Symptom, v *vote, b ballot) []Category {
	var out []Category
	add := func(cats ...Category) {
		for _, c := range cats {
			if c != v.category && c.InGuide() && !slices.Contains(out, c) && len(out) < maxAlternatives {
				out = append(out, c)
			}
		}
	}
	if p := e.pairs[pair{s.Reply.Code, s.Reply.Enhanced}]; p != nil && v.basis != BasisText {
		add(p.Categories...)
	}
	if v.basis == BasisText {
		add(v.top.rule.Alt...)
		if len(v.top.rule.Alt) == 0 && v.top.rule.Category == "" {
			add(e.reasons[v.top.rule.Reason].Alt...)
		}
	} else {
		add(v.alt...)
	}
	for i := range b {
		if o := &b[i]; o.top.rule != nil && o.top.weight >= v.score-3 {
			add(o.category)
		}
	}
	if p := e.pairs[pair{s.Reply.Code, s.Reply.Enhanced}]; p != nil {
		add(p.Categories...)
	}
	return out
}

// explain fills in what a reason says.
func (e *Engine) explain(s *Symptom, reason Reason, c Category, basis Basis, conf Confidence, rule string) Diagnosis {
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
		if d.Scope != ScopeUpstream {
			e.become(s, d, pick(temporary, authTemporary, authFailed), BasisStage, "stage auth")
		}
	case StageConnect, StageGreeting, StageHello, StageTLS:
		if d.Scope == ScopeRecipient || d.Scope == ScopeMessage {
			e.become(s, d, pick(temporary, sessionDeferred, sessionRefused), BasisStage, "stage "+string(s.Stage))
		}
		d.Scope = ScopeUpstream
	case StageMail:
		if !temporary && aboutSender(d) {
			e.become(s, d, mailRefused, BasisStage, "stage mail")
		}
	default:
		if d.Scope == ScopeUpstream && quotesAnother(text) {
			d.Scope, d.Owner = ScopeRecipient, OwnerRecipientAdmin
		}
	}
}

// aboutSender reports whether d, said at MAIL for good, is about the account or the sender, whatever its words
// seem to say: no recipient has been named yet, and of the message only its size and the extensions it needs
// (RFC 5321, 3.3).
func aboutSender(d *Diagnosis) bool {
	switch d.Scope {
	case ScopeRecipient:
		return true
	case ScopeMessage:
		return d.Reason != tooLarge && d.Reason != featureUnsupported
	}
	return d.Reason == senderRejected
}

func pick(first bool, a, b Reason) Reason {
	if first {
		return a
	}
	return b
}
