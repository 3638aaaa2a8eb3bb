package diagnose

import (
	"strconv"
	"strings"
)

// CodeMeaning is what the tables say of codes alone, before any wording is read. A reason is "" where a table
// does not have the code.
type CodeMeaning struct {
	Code           int    `json:"code,omitempty"`
	Enhanced       string `json:"enhanced,omitempty"`
	Pairs          []Pair `json:"pairs,omitempty"`           // rows of the guide's table
	EnhancedReason Reason `json:"enhanced_reason,omitempty"` // what the enhanced code means (RFC 3463)
	CodeReason     Reason `json:"code_reason,omitempty"`     // what the basic code means (RFC 5321, 4.2.3)
}

// Known reports whether any table has the codes.
func (m CodeMeaning) Known() bool {
	return len(m.Pairs) > 0 || m.EnhancedReason != "" || m.CodeReason != ""
}

// Pair writes the codes as a reply has them.
func (m CodeMeaning) Pair() string { return pairText(m.Code, m.Enhanced) }

// String writes the pair as a reply has it.
func (p Pair) String() string { return pairText(p.Code, p.Text) }

// pairText writes a basic and an enhanced code, either of which may be missing.
func pairText(code int, enhanced string) string {
	switch {
	case code == 0:
		return enhanced
	case enhanced == "":
		return strconv.Itoa(code)
	}
	return strconv.Itoa(code) + " " + enhanced
}

// ParseCodes reads "550", "5.7.1" or "550 5.7.1"; ok is false where name holds anything else.
func ParseCodes(name string) (code int, enhanced Enhanced, ok bool) {
	for _, field := range strings.Fields(name) {
		if e, is := ParseEnhanced(field); is && enhanced.IsZero() {
			enhanced = e
			continue
		}
		n, err := strconv.Atoi(field)
		if err != nil || n < 200 || n > 799 || code != 0 {
			return 0, Enhanced{}, false
		}
		code = n
	}
	return code, enhanced, code != 0 || !enhanced.IsZero()
}

// Codes looks up a basic code, an enhanced code, or both; 0 and the zero Enhanced stand for none.
func (e *Engine) Codes(code int, enhanced Enhanced) CodeMeaning {
	m := CodeMeaning{Code: code, Enhanced: enhanced.String()}
	for _, p := range e.pairList {
		if code != 0 && p.Code != code || !enhanced.IsZero() && p.Enhanced != enhanced {
			continue
		}
		m.Pairs = append(m.Pairs, p)
	}
	if row := e.enhancedRow(enhanced); row != nil {
		m.EnhancedReason = row.Reason
	}
	if row := e.codes[code]; row != nil {
		m.CodeReason = row.Reason
	}
	return m
}

// maxPhrase is how many words of a wording Phrase takes.
const maxPhrase = 6

// Phrase writes the first words of a wording as a phrase of rules (phrase.go), without facts, boilerplate and
// articles; "" where no word is left. A rule with this phrase holds on the wording.
func (e *Engine) Phrase(text string) string {
	r := new(row)
	r.load(e.x, text)
	r.search(e.x)
	r.markBoilerplate(e.x)
	var phrase strings.Builder
	taken, number := 0, ""
	for i, w := range r.words {
		boilerplate := r.inBoilerplate(int32(i), int32(i)+1)
		switch {
		case taken == maxPhrase, taken > 0 && boilerplate:
			return phrase.String()
		case r.skips[i] || boilerplate, taken == 0 && !w.wording():
			continue
		case w.kind == numberWord && number == "":
			number = " {n}"
			continue
		case !w.wording():
			return phrase.String()
		}
		if taken++; taken > 1 {
			phrase.WriteString(number + " ")
		}
		phrase.WriteString(w.text)
		number = ""
	}
	return phrase.String()
}
