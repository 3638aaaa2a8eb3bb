package diagnose

import "strings"

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
