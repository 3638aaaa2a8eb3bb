package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"mailwhy/diagnose"
)

// suggestion is a rule that could explain a family of unmatched wordings: those with the same first words.
type suggestion struct {
	phrase    string
	codes     []string
	examples  []string
	hosts     []string
	count     int
	reason    diagnose.Reason
	now       string // how they are explained today
	different bool   // not all in the same way
}

// maxExamples is how many wordings a suggestion shows.
const maxExamples = 3

// suggest prints a rule skeleton for each family of unmatched wordings, in the form of diagnose.rules_file.
func (s *unmatchedSum) suggest() error {
	var b bytes.Buffer
	families, without := s.families()
	fmt.Fprintf(&b, "# %s for wordings that none matched, most frequent first. Check each reason (mailwhy\n"+
		"# guide lists them), shorten the phrases to the words that matter, try the file with mailwhy\n"+
		"# diagnose --rules FILE, and name it as diagnose.rules_file.\n",
		count(int64(len(families)), "rule"))
	used := map[string]int{}
	for _, f := range families {
		id := "own-" + slug(f.phrase)
		if used[id]++; used[id] > 1 {
			id += "-" + strconv.Itoa(used[id])
		}
		f.print(&b, id)
	}
	if without > 0 {
		fmt.Fprintf(&b, "\n# %s without a word that a rule could look for\n",
			count(int64(without), "wording"))
	}
	_, err := s.diagnoser.out.Write(b.Bytes())
	return err
}

// families puts the wordings with the same phrase together. without counts those that have none.
func (s *unmatchedSum) families() (list []*suggestion, without int) {
	byPhrase := map[string]*suggestion{}
	for _, g := range s.sorted() {
		phrase := s.diagnoser.engine.Phrase(diagnose.ParseReply(g.Example).Text)
		if phrase == "" {
			without++
			continue
		}
		f := byPhrase[phrase]
		if f == nil {
			f = &suggestion{phrase: phrase, reason: g.Reason,
				now: fmt.Sprintf("%s (%s), %s, %s", g.Category, g.Reason, g.Basis, g.Confidence)}
			byPhrase[phrase] = f
			list = append(list, f)
		}
		f.add(g)
	}
	return list, without
}

// add counts a wording of the family.
func (f *suggestion) add(g *wording) {
	f.count += g.Count
	f.different = f.different || f.reason != g.Reason
	if code := strconv.Itoa(g.Code); g.Code != 0 {
		f.codes = appendNew(f.codes, code)
	}
	if len(f.examples) < maxExamples {
		f.examples = appendNew(f.examples, g.Example)
	}
	for _, h := range g.Hosts {
		f.hosts = appendNew(f.hosts, h)
	}
}

// appendNew appends s where it is not there yet.
func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// print writes the rule.
func (f *suggestion) print(b *bytes.Buffer, id string) {
	fmt.Fprintf(b, "\n# %s", count(int64(f.count), "time"))
	if len(f.hosts) > 0 {
		fmt.Fprintf(b, ", said by %s", printable(strings.Join(f.hosts, ", ")))
	}
	now := f.now
	if f.different {
		now += "; others of them otherwise"
	}
	fmt.Fprintf(b, "\n# taken for %s\n", printable(now))
	fmt.Fprintf(b, "[[rule]]\nid = %s\nreason = %s\n", tomlString(id),
		tomlString(string(f.reason)))
	if len(f.codes) > 0 {
		fmt.Fprintf(b, "code = %s\n", tomlStrings(f.codes))
	}
	fmt.Fprintf(b, "any = %s\nexample = %s\n", tomlStrings([]string{f.phrase}), tomlStrings(f.examples))
}

// slug makes an id of the letters and digits of a phrase; where it has none of ASCII, of its bytes.
func slug(phrase string) string {
	var b strings.Builder
	for _, r := range phrase {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	if id := strings.Trim(b.String(), "-"); id != "" {
		return id
	}
	return fmt.Sprintf("%x", phrase)
}

// tomlStrings writes an array of strings.
func tomlStrings(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = tomlString(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// tomlString writes a basic string of TOML. What a foreign server said may hold anything.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || 0x7f <= r && r < 0xa0 || isBidi(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// isBidi reports whether r changes the direction in which a terminal shows text.
func isBidi(r rune) bool {
	return 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || r == 0x200e || r == 0x200f
}
