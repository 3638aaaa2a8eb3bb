package rewrite

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/address/pattern"
)

// Rule is one rule. A mail and recipient match it if every key that is given does; a rule without keys
// matches all.
//
// An entry of Senders and Recipients is a pattern (see package pattern), or a regular expression (RE2)
// between slashes that matches the whole address, capitals aside; the null sender matches "<>" alone. Where
// such an expression matched, $1 or ${1} in Sender, From and ReplyTo stands for what its group matched in the
// sender, and in Recipient for what was matched in the recipient.
type Rule struct {
	Name       string
	Clients    []string // names of client networks or users
	Senders    []string // of the envelope, as the application gave it
	Recipients []string // as the application gave them
	Upstreams  []string // that the mail goes to; not looked at for Recipient

	Sender    string // the envelope sender
	From      string // an address, before which the old name stays; or "Name <address>"
	ReplyTo   string // as From, without an old name
	Recipient string // an address
	// ToAccount sets Sender, and From unless that is given, to the address of the upstream's account, and
	// removes the Sender field.
	ToAccount bool
	// Masquerade are domains that stand for their subdomains in the envelope sender and in the addresses of
	// the header: "example.com", or "!host.example.com" for one that stays. The first that fits counts.
	Masquerade []string

	Add    []Field // one each, unless RFC 5322 allows only one field of that name and it is there
	Set    []Field // in place of all fields of that name
	Remove []string
}

// rule is a Rule, ready to be applied.
type rule struct {
	Rule
	senders, recipients matcher
	from, replyTo       mailbox
}

func compile(from *Rule) (rule, error) {
	r := rule{Rule: *from, from: readMailbox(from.From), replyTo: readMailbox(from.ReplyTo)}
	var errSenders, errRecipients error
	r.senders, errSenders = newMatcher(from.Senders)
	r.recipients, errRecipients = newMatcher(from.Recipients)
	return r, errors.Join(errSenders, errRecipients)
}

// matchesMail reports whether the keys match that concern the mail as a whole, and what of the sender.
func (r *rule) matchesMail(m *relay.Message) (found, bool) {
	sender, ok := r.senders.match(m.Envelope.From)
	return sender, ok && clientMatches(r.Clients, m)
}

// clientMatches reports whether a list of clients is empty or has that of a message.
func clientMatches(names []string, m *relay.Message) bool {
	return len(names) == 0 || slices.Contains(names, m.Client.Name) ||
		m.Client.User != "" && slices.Contains(names, m.Client.User)
}

// matchesRecipient reports whether the recipient matches, as the application gave it. In a sandbox one
// recipient stands for several, and one of them is enough.
func (r *rule) matchesRecipient(to *relay.Recipient) bool {
	return r.recipients.matchesAny(given(to))
}

// matcher is a list of addresses. The zero matcher matches all.
type matcher struct {
	given    bool
	patterns *pattern.Set
	regexps  []*regexp.Regexp
}

func newMatcher(list []string) (m matcher, err error) {
	var plain []string
	var errs []error
	for _, entry := range list {
		text, ok := expression(entry)
		if !ok {
			plain = append(plain, entry)
			continue
		}
		re, err := regexp.Compile(`(?i)^(?:` + text + `)$`)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", entry, err))
			continue
		}
		m.regexps = append(m.regexps, re)
	}
	m.given, m.patterns = len(list) > 0, pattern.New(plain)
	return m, errors.Join(errs...)
}

// expression is the regular expression that an entry holds between slashes.
func expression(entry string) (text string, ok bool) {
	if len(entry) < 3 || entry[0] != '/' || entry[len(entry)-1] != '/' {
		return "", false
	}
	return entry[1 : len(entry)-1], true
}

// found is what a regular expression found in an address. The zero found is that of a pattern.
type found struct {
	re    *regexp.Regexp
	in    string
	parts []int
}

// match reports whether an address is in the list, and what was found in it. The expressions come first,
// since only with them is there something to expand.
func (m *matcher) match(address string) (found, bool) {
	if !m.given {
		return found{}, true
	}
	if address != "" {
		for _, re := range m.regexps {
			if parts := re.FindStringSubmatchIndex(address); parts != nil {
				return found{re, address, parts}, true
			}
		}
	}
	return found{}, m.patterns.Has(address)
}

// matchesAny reports whether one of some addresses is in the list.
func (m *matcher) matchesAny(addresses []string) bool {
	return slices.ContainsFunc(addresses, func(address string) bool {
		_, ok := m.match(address)
		return ok
	})
}

// expand puts what was found into a template.
func (f *found) expand(template string) string {
	if f.re == nil || !strings.Contains(template, "$") {
		return template
	}
	return string(f.re.ExpandString(nil, template, f.in, f.parts))
}

// mailbox is a template of a mailbox.
type mailbox struct {
	address string
	name    string // as it is written in a header, with a blank behind it; "" for none
}

// readMailbox reads "address" or "Name <address>".
func readMailbox(s string) mailbox {
	name, rest, ok := strings.Cut(s, "<")
	if !ok {
		return mailbox{address: s}
	}
	name = strings.Trim(strings.TrimSpace(name), `"`)
	if name != "" {
		name, _, _ = strings.Cut((&mail.Address{Name: name, Address: "a@b"}).String(), "<")
	}
	return mailbox{strings.TrimSuffix(strings.TrimSpace(rest), ">"), name}
}

// plan is what the rules make of a transaction.
type plan struct {
	names  []string
	sender string
	edit   edit
}

// plan collects what the matching rules set. The recipients of a transaction match the same rules, so the
// first one is looked at.
func (w *Rewriter) plan(t *relay.Transaction) *plan {
	p := &plan{}
	m := t.Message
	if len(t.Recipients) == 0 {
		return p
	}
	to := &m.Recipients[t.Recipients[0]]
	for i := range w.rules {
		r := &w.rules[i]
		sender, ok := r.matchesMail(m)
		if ok && r.matchesRecipient(to) && (len(r.Upstreams) == 0 || slices.Contains(r.Upstreams, m.Lane)) {
			p.names = append(p.names, r.Name)
			w.apply(p, r, m, sender)
		}
	}
	p.edit.add = append(p.edit.add, w.add...)
	if to.Sandboxed {
		p.edit.originalTo, p.edit.subject = to.Given, w.sandbox.subject
	}
	return p
}

// apply adds to a plan what one rule sets and no rule before it did.
func (w *Rewriter) apply(p *plan, r *rule, m *relay.Message, sender found) {
	from, to := r.from, r.Sender
	if account := w.accounts[m.Lane]; r.ToAccount && account != "" {
		if to == "" {
			to = account
		}
		if from.address == "" {
			from.address = account
		}
		p.edit.noSender = true
	}
	if p.sender == "" && to != "" {
		p.sender = w.address(m, r, sender, to)
	}
	if p.edit.from.address == "" && from.address != "" {
		p.edit.from = mailbox{w.address(m, r, sender, from.address), from.name}
	}
	if p.edit.replyTo.address == "" && r.replyTo.address != "" {
		p.edit.replyTo = mailbox{w.address(m, r, sender, r.replyTo.address), r.replyTo.name}
	}
	p.maskSender(m, r.Masquerade)
	p.edit.add = append(p.edit.add, r.Add...)
	p.edit.setAll(r.Set)
	p.edit.remove = append(p.edit.remove, r.Remove...)
}
