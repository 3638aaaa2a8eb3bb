package practicepage

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// maxAnswers is how many chosen answers can wait.
const maxAnswers = 100

// stage is one at which an answer can be chosen.
type stage struct {
	Stage diagnose.Stage
	Name  string // for people
}

// stages are those at which an answer can be chosen, in their order in a session.
func stages() []stage {
	return []stage{
		{diagnose.StageGreeting, "greeting"}, {diagnose.StageHello, "EHLO"}, {diagnose.StageAuth, "AUTH"},
		{diagnose.StageMail, "MAIL FROM"}, {diagnose.StageRcpt, "RCPT TO"}, {diagnose.StageData, "DATA"},
		{diagnose.StageEndOfData, "end of data"},
	}
}

// answer is what the upstream is to say.
type answer struct {
	ID    int
	Case  smtptest.Case  // whose Stage is where
	To    string         // only about this recipient, in lower case; "" about all
	Left  int            // how often still; 0 always
	Stage diagnose.Stage // of the Case
}

// Times says how often an answer is still given.
func (a *answer) Times() string {
	switch a.Left {
	case 0:
		return "always"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", a.Left)
}

// answers are those that were chosen, in order: of those that fit, the first one is given.
type answers struct {
	mu   sync.Mutex
	list []*answer
	last int
}

// script is that of an upstream.
type script = func(smtptest.Command) smtptest.Action

// before is a Script that asks for a chosen answer first.
func (a *answers) before(script script) script {
	return func(cmd smtptest.Command) smtptest.Action {
		if chosen, ok := a.take(&cmd); ok {
			return chosen
		}
		if script == nil {
			return smtptest.Action{}
		}
		return script(cmd)
	}
}

// take is the answer to a command, which is used up by one.
func (a *answers) take(cmd *smtptest.Command) (smtptest.Action, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, o := range a.list {
		to, fits := o.fits(cmd)
		if !fits {
			continue
		}
		if o.Left == 1 {
			a.list = slices.Delete(a.list, i, i+1)
		} else if o.Left > 1 {
			o.Left--
		}
		from := cmd.Address
		if cmd.Arrived != nil {
			from = cmd.Arrived.From
		}
		return o.Case.Action(from, to), true
	}
	return smtptest.Action{}, false
}

// fits reports whether an answer is one to a command, and the recipient that it is about.
func (a *answer) fits(cmd *smtptest.Command) (to string, ok bool) {
	if cmd.Stage != a.Case.Stage {
		return "", false
	}
	var about []string
	switch {
	case cmd.Stage == diagnose.StageRcpt:
		about = []string{cmd.Address}
	case cmd.Arrived != nil:
		for _, r := range cmd.Arrived.To {
			about = append(about, r.Address)
		}
	}
	for _, address := range about {
		if a.To == "" || strings.EqualFold(address, a.To) {
			return address, true
		}
	}
	return "", a.To == ""
}

// add adds an answer.
func (a *answers) add(o answer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) >= maxAnswers {
		return fmt.Errorf("there are %d answers already; remove some", maxAnswers)
	}
	a.last++
	o.ID = a.last
	a.list = append(a.list, &o)
	return nil
}

// remove removes the answer of an id, or all of them for 0.
func (a *answers) remove(id int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = slices.DeleteFunc(a.list, func(o *answer) bool { return id == 0 || o.ID == id })
}

// all are the answers as they are now.
func (a *answers) all() []answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]answer, len(a.list))
	for i, o := range a.list {
		out[i] = *o
	}
	return out
}

// replyLine is a line of a reply (RFC 5321, 4.2).
var replyLine = regexp.MustCompile(`^([2-5][0-9][0-9])(-| |$)[\t -~]*$`)

// readReply reads a reply that was typed: a line or several, of one code. 221 and 421 end the session (RFC
// 5321, 3.8 and 4.2.1).
func readReply(text string) (smtptest.Case, error) {
	c := smtptest.Case{Name: "reply"}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	code := ""
	for i, line := range lines {
		m := replyLine.FindStringSubmatch(line)
		switch last := i == len(lines)-1; {
		case m == nil || len(line) > 510:
			return c, fmt.Errorf("line %d is not a reply: write a code and ASCII text, as in "+
				"550 5.1.1 No such user", i+1)
		case code != "" && m[1] != code:
			return c, fmt.Errorf("line %d has another code than the first", i+1)
		case last && m[2] == "-", !last && m[2] != "-":
			return c, fmt.Errorf("line %d: all lines but the last have a - behind the code", i+1)
		default:
			code = m[1]
		}
	}
	c.Reply = strings.Join(lines, "\n")
	if code == "221" || code == "421" {
		c.End = smtptest.EndClose
	}
	return c, nil
}
