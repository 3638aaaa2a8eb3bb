package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// told is what a provider's own type, class or fixed wording means, of an event that it tells after it took
// the mail. told.toml says when it counts.
type told struct {
	Provider   string     `toml:"provider"`
	Type       []string   `toml:"type"`
	Class      []string   `toml:"class"`
	Words      []string   `toml:"words"`
	Reason     Reason     `toml:"reason"`
	Decides    bool       `toml:"decides"` // the provider never tried
	Confidence Confidence `toml:"confidence"`
	Example    string     `toml:"example"` // "type | class | wording"
}

// id is what Diagnosis.Rule calls the row.
func (t *told) id() string {
	parts := []string{"told", t.Provider}
	for _, list := range [][]string{t.Type, t.Class, t.Words} {
		if len(list) > 0 {
			parts = append(parts, list[0])
		}
	}
	return strings.Join(parts, " ")
}

// holds reports whether the row is about an event with this wording.
func (t *told) holds(f *Facts, wording string) bool {
	has := func(list []string, fits func(string) bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, fits)
	}
	return t.Provider == f.Provider &&
		has(t.Type, func(s string) bool { return strings.EqualFold(s, f.ProviderType) }) &&
		has(t.Class, func(s string) bool { return strings.EqualFold(s, f.ProviderClass) }) &&
		has(t.Words, func(s string) bool { return beginsWith(wording, s) })
}

// holdsExample reports whether the row has an example, and is about it.
func (t *told) holdsExample() bool {
	parts := strings.Split(t.Example, "|")
	if len(parts) != 3 {
		return false
	}
	return t.holds(&Facts{Provider: t.Provider, ProviderType: strings.TrimSpace(parts[0]),
		ProviderClass: strings.TrimSpace(parts[1])}, parts[2])
}

// beginsWith reports whether a text begins with whole words, whatever their case.
func beginsWith(text, words string) bool {
	text = strings.TrimSpace(text)
	if len(text) < len(words) || !strings.EqualFold(text[:len(words)], words) {
		return false
	}
	rest := text[len(words):]
	return rest == "" || !wordByte(rest[0]) && rest[0] != '-' && rest[0] != '_'
}

// toldOf is the row about an event, or nil.
func (e *Engine) toldOf(f *Facts, wording string) *told {
	i := slices.IndexFunc(e.told, func(t told) bool { return t.holds(f, wording) })
	if i < 0 {
		return nil
	}
	return &e.told[i]
}

// heed makes an answer one about the upstream's exchange with the recipient's server, told later. What the
// provider itself says decides where no reply is quoted, and where the reply leaves the cause open.
func (e *Engine) heed(s *Symptom, d *Diagnosis, text string, top signal) {
	if d.Reason == noRefusal {
		return
	}
	row := e.toldOf(&s.Facts, text)
	own := top.rule != nil && top.rule.own // a user's rule knows better than our table
	if row != nil && !own && (row.Decides || s.Reply.Code == 0 || e.open(d)) {
		e.follow(s, d, row)
	} else if d.Category == ConnectionFailure {
		reason, ok := e.remote[d.Reason]
		if !ok {
			reason = remoteUnreachable
		}
		e.become(s, d, reason, d.Basis, d.Rule)
		d.Category, d.InGuide = e.reasons[reason].Category, true
	}
	if d.Scope == ScopeUpstream {
		e.confine(s, d)
	}
}

// open reports whether an answer leaves the cause open.
func (e *Engine) open(d *Diagnosis) bool {
	return d.Confidence == Low || d.Reason == refusedUnexplained || d.Reason == unknownReason ||
		d.Reason == recipientRejected
}

// follow gives the answer of a row.
func (e *Engine) follow(s *Symptom, d *Diagnosis, row *told) {
	before, conf := d.Category, row.Confidence
	switch {
	case conf != "":
	case row.Decides:
		conf = High
	default:
		conf = Medium
	}
	alternatives := d.Alternatives
	*d = e.explain(s, row.Reason, "", BasisProvider, conf, row.id())
	for _, c := range slices.Concat(e.reasons[row.Reason].Alt, []Category{before}, alternatives) {
		if c != d.Category && c.InGuide() && !slices.Contains(d.Alternatives, c) && !row.Decides &&
			len(d.Alternatives) < maxAlternatives {
			d.Alternatives = append(d.Alternatives, c)
		}
	}
	if s.Reply.Code == 0 || row.Decides {
		d.Provider = row.Provider
	}
}

// confine keeps an answer about our account or the way to an upstream from being taken for one about the
// upstream that told of it: a lane pauses for what its upstream says itself, in the session. Where the
// recipient's server says such a thing it is about that upstream's name, or, if it is not, about something
// that only the recipient's administrator can know.
func (e *Engine) confine(s *Symptom, d *Diagnosis) {
	d.Scope = ScopeSender
	if s.Reply.Code == 0 || d.Basis == BasisProvider || d.Category == SenderReputation ||
		d.Category == RateLimitIssues || d.Category == RejectionErrors {
		return
	}
	d.Scope, d.Owner = ScopeRecipient, OwnerRecipientAdmin
}

// complaint is the answer to a complaint, which has no reply.
func (e *Engine) complaint(s *Symptom) Diagnosis {
	d := e.explain(s, ReasonSpamComplaint, "", BasisProvider, High, "complaint")
	d.Alternatives, d.Provider = slices.Clone(e.reasons[ReasonSpamComplaint].Alt), s.Facts.Provider
	e.specialise(s, &d)
	return d
}

// saidBy is the evidence of what the provider calls the event.
func saidBy(f *Facts) string {
	calls := bounded(f.ProviderType)
	if f.ProviderClass != "" {
		calls = strings.TrimPrefix(calls+", "+bounded(f.ProviderClass), ", ")
	}
	if calls == "" {
		return ""
	}
	return fmt.Sprintf("The provider reports it as %s.", calls)
}

// told checks the rows about what providers tell, and what failures of theirs become.
func (c *checker) told() {
	for i := range c.f.Told {
		t := &c.f.Told[i]
		where := fmt.Sprintf("told %d (%s)", i+1, t.id())
		c.refer(where, t.Reason, "", nil)
		switch {
		case t.Provider == "" || t.Reason == "":
			c.errorf("%s: provider and reason must be set", where)
		case len(t.Type)+len(t.Class)+len(t.Words) == 0:
			c.errorf("%s: it asks for no type, class or words, so it would hold for every event", where)
		case t.Confidence != "" && t.Confidence != High && t.Confidence != Medium && t.Confidence != Low:
			c.errorf("%s: confidence %q is not one of high, medium, low", where, t.Confidence)
		case !t.holdsExample():
			c.errorf("%s: example %q is not an event that it holds for: write \"type | class | wording\"",
				where, t.Example)
		}
	}
	for from, to := range c.f.Remote {
		c.refer("remote "+string(from), from, "", nil)
		c.refer("remote "+string(from), to, "", nil)
	}
}
