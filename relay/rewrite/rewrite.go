// Package rewrite changes mail as the operator's rules say: the envelope sender, the recipients, From,
// Reply-To and other fields of the header. relay/app joins it twice, and each step acts where a retry and a
// changed rule find it right:
//
//   - At the end of data, before a route is chosen: Accept replaces recipients, since the route depends on
//     them; in a sandbox it replaces all of them by one; and it adds the recipients of archives.
//   - At each attempt, before a content is converted and signed: Sender and Prepare give a transaction its
//     envelope sender and its header. What is stored stays as it came, so mail that waits is sent by the
//     rules as they are then, and for the upstream that it goes to then.
//
// All rules that match are applied; where two of them set the same thing, the first one counts. Rules look at
// what the application gave, never at what another rule made of it. The recipients of one transaction are
// rewritten alike: a lane asks Alike which may travel together.
//
// What always holds: the sender in Message.Envelope stays that of the application, so reports go to it, and
// the null sender stays null (RFC 5321, 4.5.5). A header is held in memory up to MaxHeader bytes, the body
// never is, and not a byte of it changes. No field becomes two of which RFC 5322, 3.6 allows one. A From that
// was rewritten has one mailbox, with the address that the rule names. What was changed is in the
// transaction's Changed, or in Message.Changed; a signature that a change breaks is told in the log, and
// stays.
//
// rule.go says which rules match and what they set; edit.go changes a header; from.go makes From and
// Reply-To; masquerade.go cuts off subdomains; sandbox.go and archive.go replace and add recipients.
package rewrite

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/xtext"
)

// Options are what a Rewriter is made of. Log is required.
type Options struct {
	Rules    []Rule
	Add      []Field           // to all mail, after those of the rules
	Accounts map[string]string // the address of the account, by the name of the upstream; for Rule.ToAccount
	Archives []Archive
	Sandbox  Sandbox
	Log      *slog.Logger
}

// Rewriter applies the rules of a configuration. It never changes and is safe for concurrent use.
type Rewriter struct {
	rules    []rule
	add      []Field
	accounts map[string]string
	archives []archive
	sandbox  sandbox
	log      *slog.Logger
}

// New makes a Rewriter. Its error names every regular expression that is not valid.
func New(o Options) (*Rewriter, error) {
	w := &Rewriter{add: o.Add, accounts: o.Accounts, sandbox: newSandbox(o.Sandbox), log: o.Log}
	var errs []error
	for i := range o.Rules {
		r, err := compile(&o.Rules[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("rewrite %s: %w", o.Rules[i].Name, err))
		}
		w.rules = append(w.rules, r)
	}
	for i := range o.Archives {
		a, err := newArchive(&o.Archives[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("archive %s: %w", o.Archives[i].Bcc, err))
		}
		w.archives = append(w.archives, a)
	}
	return w, errors.Join(errs...)
}

// Accept replaces and adds recipients of a mail that is being accepted, before its routes are chosen.
// m.Changed says what was done.
func (w *Rewriter) Accept(m *relay.Message) {
	w.rewriteRecipients(m)
	copies := w.copies(m)
	if w.sandbox.redirects() {
		w.sandbox.redirect(m)
	}
	if len(copies) > 0 {
		m.Recipients = append(m.Recipients, copies...)
		note(m, "archive copy added")
	}
}

// rewriteRecipients replaces the recipients for which rules set another address. Those that become the same
// address get one copy, with the parameters of the first. Where the client gave no original recipient it is
// the address that was replaced (RFC 3461, 5.2.1).
func (w *Rewriter) rewriteRecipients(m *relay.Message) {
	if !slices.ContainsFunc(w.rules, func(r rule) bool { return r.Recipient != "" }) {
		return
	}
	kept := make([]relay.Recipient, 0, len(m.Recipients))
	places := map[string]int{}
	for _, r := range m.Recipients {
		if to := w.recipientFor(m, r.Address); to != "" && to != r.Address {
			if r.ORCPT == "" && address.IsASCII(r.Address) {
				r.ORCPT = "rfc822;" + xtext.Encode(r.Address)
			}
			r.Given, r.Address = []string{r.Address}, to
			note(m, "recipient rewritten")
		}
		if at, twice := places[r.Address]; twice {
			kept[at].Given = append(kept[at].Given, r.Given...)
			continue
		}
		places[r.Address] = len(kept)
		kept = append(kept, r)
	}
	m.Recipients = kept
}

// recipientFor is the address that the first matching rule with one puts in the place of a recipient; "" for
// none.
func (w *Rewriter) recipientFor(m *relay.Message, to string) string {
	for i := range w.rules {
		r := &w.rules[i]
		if r.Recipient == "" {
			continue
		}
		found, ok := r.recipients.match(to)
		if _, fits := r.matchesMail(m); !ok || !fits {
			continue
		}
		if made := w.address(m, r, found, r.Recipient); made != "" {
			return made
		}
	}
	return ""
}

// address is the address that a template makes; "", which the log tells, if that is not a valid one.
func (w *Rewriter) address(m *relay.Message, r *rule, found found, template string) string {
	made := found.expand(template)
	valid, err := address.Parse(made, m.Envelope.SMTPUTF8)
	if err != nil {
		w.log.Warn("a rewriting rule makes no valid address, so nothing is set", "rule", r.Name,
			"template", template, "address", made, "err", err, "id", m.ID)
	}
	return valid
}

// Sender is the envelope sender that the rules give a transaction; "" leaves it. Mail with the null sender,
// and so every report, keeps that.
func (w *Rewriter) Sender(t *relay.Transaction) string {
	if t.Message.Envelope.From == "" {
		return ""
	}
	return w.plan(t).sender
}

// Prepare gives a transaction the header that the rules for its upstream, the lane of its message, set. The
// content is changed when it is opened.
func (w *Rewriter) Prepare(t *relay.Transaction) {
	if sender := t.Message.Envelope.From; sender != "" && t.From != sender {
		t.Note("envelope sender rewritten")
	}
	w.plan(t).edit.prepare(t, w.log)
}

// Rules are the names of the rules that match a transaction, for people.
func (w *Rewriter) Rules(t *relay.Transaction) []string { return w.plan(t).names }

// Alike reports whether the recipients i and j of a message can be offered in one transaction: the same rules
// match both, and the sandbox treats both alike.
func (w *Rewriter) Alike(m *relay.Message, i, j int) bool {
	a, b := &m.Recipients[i], &m.Recipients[j]
	if a.Sandboxed != b.Sandboxed || w.sandbox.allows(a.Address) != w.sandbox.allows(b.Address) {
		return false
	}
	for k := range w.rules {
		if r := &w.rules[k]; r.matchesRecipient(a) != r.matchesRecipient(b) {
			return false
		}
	}
	return true
}

// note adds to a message's changes, each once.
func note(m *relay.Message, change string) {
	if !slices.Contains(m.Changed, change) {
		m.Changed = append(m.Changed, change)
	}
}
