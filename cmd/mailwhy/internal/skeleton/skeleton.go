// Package skeleton writes rules for wordings that none matched, for a person to check and to edit.
package skeleton

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"mailwhy/diagnose"
)

// Wording is one that no rule matched.
type Wording struct {
	Phrase  string // of rules; wordings with the same one make a family
	Code    int    // 0 is none
	Example string
	Reason  diagnose.Reason // that it is explained by today
	Answer  string          // today's answer in short
	Hosts   []string        // some of those that say it
	Count   int
}

// maxExamples is how many wordings a rule shows.
const maxExamples = 3

// Rules writes a rule for each family of wordings, in the order in which the first of each comes. No two have
// the same id. The rules load with diagnose.Options.Rules and match their wordings.
func Rules(wordings []Wording) []byte {
	var b bytes.Buffer
	families := families(wordings)
	rules := strconv.Itoa(len(families)) + " rules"
	if len(families) == 1 {
		rules = "1 rule"
	}
	fmt.Fprintf(&b, "# %s for wordings that none matched, most frequent first. Check each reason (mailwhy\n"+
		"# guide lists them), shorten the phrases to the words that matter, try the file with mailwhy\n"+
		"# diagnose --rules FILE, and name it as diagnose.rules_file.\n", rules)
	used := map[string]int{}
	for _, f := range families {
		id := "own-" + slug(f.first.Phrase)
		if used[id]++; used[id] > 1 {
			id += "-" + strconv.Itoa(used[id])
		}
		f.write(&b, id)
	}
	return b.Bytes()
}

// family is the wordings with one phrase.
type family struct {
	first     *Wording
	codes     []string
	examples  []string
	hosts     []string
	count     int
	different bool // not all are explained by the same reason
}

func families(wordings []Wording) []*family {
	var list []*family
	byPhrase := map[string]*family{}
	for i := range wordings {
		w := &wordings[i]
		f := byPhrase[w.Phrase]
		if f == nil {
			f = &family{first: w}
			byPhrase[w.Phrase] = f
			list = append(list, f)
		}
		f.add(w)
	}
	return list
}

func (f *family) add(w *Wording) {
	f.count += w.Count
	f.different = f.different || f.first.Reason != w.Reason
	if w.Code != 0 {
		f.codes = appendNew(f.codes, strconv.Itoa(w.Code))
	}
	if len(f.examples) < maxExamples {
		f.examples = appendNew(f.examples, w.Example)
	}
	for _, h := range w.Hosts {
		f.hosts = appendNew(f.hosts, h)
	}
}

// appendNew appends s where it is not there yet.
func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// write writes the rule.
func (f *family) write(b *bytes.Buffer, id string) {
	times := "times"
	if f.count == 1 {
		times = "time"
	}
	fmt.Fprintf(b, "\n# %d %s", f.count, times)
	if len(f.hosts) > 0 {
		fmt.Fprintf(b, ", said by %s", graphic(strings.Join(f.hosts, ", ")))
	}
	now := f.first.Answer
	if f.different {
		now += "; others of them otherwise"
	}
	fmt.Fprintf(b, "\n# taken for %s\n", graphic(now))
	fmt.Fprintf(b, "[[rule]]\nid = %s\nreason = %s\n", tomlString(id), tomlString(string(f.first.Reason)))
	if len(f.codes) > 0 {
		fmt.Fprintf(b, "code = %s\n", tomlStrings(f.codes))
	}
	fmt.Fprintf(b, "any = %s\nexample = %s\n", tomlStrings([]string{f.first.Phrase}), tomlStrings(f.examples))
}

// graphic keeps a comment on its line.
func graphic(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '?'
	}, s)
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
