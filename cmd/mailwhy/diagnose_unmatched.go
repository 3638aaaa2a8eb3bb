package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"mailwhy/cmd/mailwhy/internal/skeleton"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

// maxWordings bounds how many different wordings are counted, so that a log of random ones costs no more
// memory.
const maxWordings = 50_000

// maxNamed is how many bytes of a name in a log are stored.
const maxNamed = 255

// wording is one that no rule matched, with the answer that it got.
type wording struct {
	Count    int    `json:"count"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	// Wording has what changes from reply to reply in general terms.
	Wording    string              `json:"wording"`
	Category   diagnose.Category   `json:"category"`
	Reason     diagnose.Reason     `json:"reason"`
	Basis      diagnose.Basis      `json:"basis"`
	Confidence diagnose.Confidence `json:"confidence"`
	Rule       string              `json:"rule"`
	Hosts      []string            `json:"hosts,omitempty"` // some of those that say it
	Example    string              `json:"example"`
}

// wordingKey is what makes two replies the same.
type wordingKey struct {
	code              int
	enhanced, wording string
}

// unmatchedSum counts the wordings that no rule matched.
type unmatchedSum struct {
	diagnoser *diagnoser
	general   *generalizer
	found     map[wordingKey]*wording
	replies   int // that were diagnosed
	unmatched int // of them
	foreign   int // lines that are not events
}

// sumUnmatched sums up the delivery logs in files, or standard input.
func (d *diagnoser) sumUnmatched(files []string) error {
	s := unmatchedSum{diagnoser: d, general: newGeneralizer(), found: map[wordingKey]*wording{}}
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		if err := s.file(name); err != nil {
			return err
		}
	}
	show := s.print
	if d.suggest {
		show = s.suggest
	}
	if err := show(); err != nil {
		return err
	}
	if s.foreign > 0 {
		return fmt.Errorf("%s could not be read as events of a delivery log", count(int64(s.foreign), "line"))
	}
	return nil
}

// file reads one delivery log.
func (s *unmatchedSum) file(name string) error {
	r := s.diagnoser.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	lines := newLineReader(r)
	for {
		line, whole, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && !whole {
			line, err = nil, lines.rest(io.Discard)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if l, err := record.Parse(line); err != nil {
			s.foreign++
		} else {
			s.add(&l)
		}
	}
}

// add counts one event, if it is about a refusal. A user's own rules are asked again, to show what they
// leave.
func (s *unmatchedSum) add(l *record.Event) {
	symptom, ok := symptomOf(l)
	if !ok {
		return
	}
	reply, found := symptom.Reply, *l.Diagnosis
	if s.diagnoser.rules != "" {
		found = s.diagnoser.engine.Diagnose(symptom)
	}
	s.replies++
	bare := found.Basis == diagnose.BasisCode || found.Basis == diagnose.BasisPair && reply.Enhanced.IsZero()
	if !bare && found.Confidence != diagnose.Low {
		return
	}
	s.unmatched++
	key := wordingKey{reply.Code, reply.Enhanced.String(), s.general.of(cmp.Or(reply.Text, symptom.Text))}
	g := s.found[key]
	if g == nil {
		if len(s.found) >= maxWordings {
			key = wordingKey{wording: "(further wordings)"}
			g = s.found[key]
		}
		if g == nil {
			g = &wording{Code: key.code, Enhanced: key.enhanced, Wording: key.wording,
				Example: cut(cmp.Or(l.Reply, l.ErrorText), maxQuoted)}
			s.found[key] = g
		}
	}
	g.Count++
	g.become(&found)
	host := cut(cmp.Or(l.Host, l.Remote), maxNamed)
	if host != "" && len(g.Hosts) < 5 && !slices.Contains(g.Hosts, host) {
		g.Hosts = append(g.Hosts, host)
	}
}

// symptomOf is the refusal that an event is about, if it is about one. What is told after the upstream's 250
// may be in words only.
func symptomOf(l *record.Event) (diagnose.Symptom, bool) {
	s := diagnose.Symptom{Stage: l.Stage, Reply: diagnose.ParseReply(l.Reply), Upstream: l.Host}
	if l.Stage == diagnose.StageRemote {
		s.Final = l.Kind == relay.EventBounced
		s.Facts.Provider, s.Facts.ProviderType = l.Provider, l.ProviderType
		if l.Reply == "" {
			s.Text = l.ErrorText
		}
		if s.Reply.Enhanced.IsZero() {
			s.Reply.Enhanced, _ = diagnose.ParseEnhanced(l.Enhanced)
		}
	}
	return s, l.Diagnosis != nil && (l.Reply != "" || s.Text != "")
}

// become records what was made of a wording. A log that is not ours can have anything for a name.
func (g *wording) become(d *diagnose.Diagnosis) {
	g.Category = diagnose.Category(cut(string(d.Category), maxNamed))
	g.Reason = diagnose.Reason(cut(string(d.Reason), maxNamed))
	g.Basis = diagnose.Basis(cut(string(d.Basis), maxNamed))
	g.Confidence = diagnose.Confidence(cut(string(d.Confidence), maxNamed))
	g.Rule = cut(d.Rule, maxNamed)
}

// sorted are the wordings, most frequent first.
func (s *unmatchedSum) sorted() []*wording {
	list := make([]*wording, 0, len(s.found))
	for _, g := range s.found {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *wording) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Enhanced, b.Enhanced), cmp.Compare(a.Wording, b.Wording))
	})
	return list
}

// print prints the wordings.
func (s *unmatchedSum) print() error {
	var b bytes.Buffer
	for _, g := range s.sorted() {
		if s.diagnoser.json {
			if err := s.diagnoser.printJSON(g); err != nil {
				return err
			}
			continue
		}
		code := strings.TrimSpace(fmt.Sprintf("%d %s", g.Code, g.Enhanced))
		fmt.Fprintf(&b, "%6d  %s %s\n", g.Count, code, printable(g.Wording))
		fmt.Fprintf(&b, "        taken for %s (%s): basis %s, confidence %s\n",
			g.Category, g.Reason, g.Basis, g.Confidence)
		if len(g.Hosts) > 0 {
			fmt.Fprintf(&b, "        said by %s\n", printable(strings.Join(g.Hosts, ", ")))
		}
	}
	if !s.diagnoser.json {
		fmt.Fprintf(&b, "%d of %d refusals were explained by a bare code or with low confidence, in %s\n",
			s.unmatched, s.replies, count(int64(len(s.found)), "wording"))
	}
	_, err := s.diagnoser.out.Write(b.Bytes())
	return err
}

// generalizer puts what changes from reply to reply in general terms.
type generalizer struct{ address, url, ip, host, id, number *regexp.Regexp }

func newGeneralizer() *generalizer {
	return &generalizer{
		address: regexp.MustCompile(`<?[^\s<>@"'(),;:]+@[^\s<>@"'(),;:]+>?`),
		url:     regexp.MustCompile(`https?://\S+`),
		ip: regexp.MustCompile(`\[?(?:\b\d{1,3}(?:\.\d{1,3}){3}\b` +
			`|\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){3,7}\b)\]?`),
		host: regexp.MustCompile(`\b(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?\.)+[a-z]{2,}\b`),
		id: regexp.MustCompile(`\b[a-z0-9_.-]*\d[a-z0-9_-]*[a-z_-][a-z0-9_.-]*\b` +
			`|\b[a-z]+[a-z0-9_.-]*\d[a-z0-9_.-]*\b`),
		number: regexp.MustCompile(`\d+`),
	}
}

// of is a wording in general terms: lower case, without addresses, hosts, numbers and ids of its own.
func (g *generalizer) of(text string) string {
	text = strings.ToLower(cut(text, maxQuoted))
	text = g.url.ReplaceAllString(text, "URL")
	text = g.address.ReplaceAllString(text, "ADDRESS")
	text = g.ip.ReplaceAllString(text, "IP")
	text = g.host.ReplaceAllString(text, "HOST")
	text = g.id.ReplaceAllString(text, "ID")
	text = g.number.ReplaceAllString(text, "N")
	return cut(strings.Join(strings.Fields(text), " "), 200)
}

// suggest prints a rule for each family of unmatched wordings, in the form of diagnose.rules_file.
func (s *unmatchedSum) suggest() error {
	var list []skeleton.Wording
	without := 0
	for _, w := range s.sorted() {
		phrase := s.diagnoser.engine.Phrase(diagnose.ParseReply(w.Example).Text)
		if phrase == "" {
			without++
			continue
		}
		list = append(list, skeleton.Wording{
			Phrase: phrase, Code: w.Code, Example: w.Example, Reason: w.Reason, Hosts: w.Hosts,
			Count:  w.Count,
			Answer: fmt.Sprintf("%s (%s), %s, %s", w.Category, w.Reason, w.Basis, w.Confidence),
		})
	}
	rules := skeleton.Rules(list)
	if without > 0 {
		rules = fmt.Appendf(rules, "\n# %s without a word that a rule could look for\n",
			count(int64(without), "wording"))
	}
	_, err := s.diagnoser.out.Write(rules)
	return err
}
