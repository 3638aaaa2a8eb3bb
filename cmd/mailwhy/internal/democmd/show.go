package democmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-message"

	"mailwhy/cmd/mailwhy/internal/terminal"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

// show shows what came of the mail.
func (d *demo) show() error {
	d.title("What became of the mail")
	table, err := d.table()
	if err != nil {
		return err
	}
	fmt.Fprint(d.out, table.Render(d.width, d.color))
	fmt.Fprintln(d.out)
	d.paragraph("Every refusal has one of the nine categories of a published guide to bounce errors, a " +
		"finer reason, its cause, and steps that fix it, addressed to whoever must act. The last one was " +
		"accepted with 250 and refused later: the upstream reported it by webhook.")
	if d.full {
		return d.showAll()
	}
	d.title("One line of the delivery log, and what it tells")
	if err := d.annotate(); err != nil {
		return err
	}
	if err := d.showBounce(bounceText); err != nil {
		return err
	}
	d.whereNext()
	return nil
}

// outcomes are the words for what became of a recipient in the end.
var outcomes = map[relay.EventKind]struct {
	word  string
	style terminal.Style
}{
	relay.EventRelayed: {"relayed", terminal.Green},
	relay.EventFailed:  {"refused", terminal.Red},
	relay.EventBounced: {"bounced", terminal.Red},
	relay.EventExpired: {"expired", terminal.Yellow},
}

// table has a row for each recipient. It fails where an outcome, or a category of the guide, was not met.
func (d *demo) table() (*terminal.Table, error) {
	t := &terminal.Table{Head: []string{"RECIPIENT", "OUTCOME", "CATEGORY", "WHY", "WHO MUST ACT"}}
	var styles []terminal.Style
	seen := map[diagnose.Category]bool{}
	for _, m := range mail {
		for _, to := range m.to {
			e := d.last(to)
			if e == nil {
				return nil, fmt.Errorf("the log does not say what became of the mail to %s", to)
			}
			row := []string{to, outcomes[e.Kind].word, "", "", ""}
			if x := e.Diagnosis; x != nil {
				seen[x.Category] = true
				row = append(row[:2], string(x.Category), words(string(x.Reason)), words(string(x.Owner)))
			}
			t.Rows, styles = append(t.Rows, row), append(styles, outcomes[e.Kind].style)
		}
	}
	t.Style = func(row, column int) terminal.Style {
		if column == 1 {
			return styles[row]
		}
		return terminal.Plain
	}
	return t, allCategories(seen)
}

// last is the last event that tells what became of a recipient.
func (d *demo) last(to string) (last *record.Event) {
	for i := range d.lines {
		if _, outcome := outcomes[d.lines[i].Kind]; outcome && d.lines[i].To == to {
			last = &d.lines[i]
		}
	}
	return last
}

// allCategories returns an error where a category of the guide is missing.
func allCategories(seen map[diagnose.Category]bool) error {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return err
	}
	for _, c := range e.Categories() {
		if c.Name.InGuide() && !seen[c.Name] {
			err = errors.Join(err, fmt.Errorf("nothing was refused as %s", c.Name))
		}
	}
	return err
}

// explained is the recipient of whose refusal a line is shown whole.
const explained = "dmarc@gmail.example"

// annotate shows a line field by field, with what each field says.
func (d *demo) annotate() error {
	e := d.last(explained)
	if e == nil || e.Diagnosis == nil {
		return errors.New("the refusal by DMARC was not explained")
	}
	reply, _, _ := strings.Cut(e.Reply, "\r\n")
	x := e.Diagnosis
	for _, f := range [...]struct{ name, value, note string }{
		{"event", string(e.Kind), "refused for good: it is not tried again"},
		{"id", e.ID, "queue id, as in the 250"},
		{"to", e.To, "a line for each recipient"},
		{"stage", string(e.Stage), "where in the SMTP exchange: after the content"},
		{"reply", reply + " ...", "the upstream's words; in the log byte for byte"},
		{"category", string(x.Category), "the guide's name for it"},
		{"reason", string(x.Reason), "the finer cause, a stable name for programs"},
		{"owner", string(x.Owner), "who must act"},
		{"action", string(x.Action), "what would help"},
		{"cause", x.Cause, ""},
		{"fix", fmt.Sprintf("%d steps; 2: %s", len(x.Fix), x.Fix[1]), ""},
		{"basis", string(x.Basis), "what the answer rests on: the wording of the reply"},
		{"confidence", string(x.Confidence), "how sure it is"},
	} {
		d.field(f.name, f.value, f.note)
	}
	return nil
}

// nameWidth is the width of the names, valueWidth that of short values before their note.
const nameWidth, valueWidth = 12, 26

// field writes a field of a line: the note stands beside a short value, and behind a long one.
func (d *demo) field(name, value, note string) {
	start := terminal.Paint(d.color, terminal.Bold, name) + strings.Repeat(" ", max(0, nameWidth-len(name)))
	if note == "" || len(value) > valueWidth {
		if note != "" {
			value += " (" + note + ")"
		}
		fmt.Fprintf(d.out, "%s%s\n", start, hanging(value, d.width, nameWidth))
		return
	}
	at := nameWidth + valueWidth + 2
	fmt.Fprintf(d.out, "%s%-*s  %s\n", start, valueWidth, value, hanging(note, d.width, at))
}

// hanging is a text whose lines end at a column and, but for the first, begin at another one.
func hanging(text string, width, at int) string {
	return strings.ReplaceAll(terminal.Fill(text, width-at), "\n", "\n"+strings.Repeat(" ", at))
}

// showBounce shows one bounce, as text makes it of the content.
func (d *demo) showBounce(text func(content string) (string, error)) error {
	content, ok := d.bounceOf(" " + fullAtOnce)
	if !ok {
		return errors.New("the bounce for a full mailbox did not arrive")
	}
	d.title("One of the bounces, as " + sender + " reads it")
	shown, err := text(content)
	if err != nil {
		return err
	}
	fmt.Fprint(d.out, strings.ReplaceAll(shown, "\r\n", "\n"))
	return nil
}

// bounceText is the subject and the first plain text of a bounce.
func bounceText(content string) (string, error) {
	e, err := message.Read(strings.NewReader(content))
	if err != nil {
		return "", err
	}
	subject, err := e.Header.Text("Subject")
	if err != nil {
		return "", err
	}
	text := ""
	err = e.Walk(func(_ []int, part *message.Entity, err error) error {
		if err != nil || text != "" {
			return err
		}
		if kind, _, err := part.Header.ContentType(); err != nil || kind != "text/plain" {
			return err
		}
		b, err := io.ReadAll(part.Body)
		text = strings.TrimRight(string(b), "\r\n") + "\n"
		return err
	})
	if err == nil && text == "" {
		err = errors.New("the bounce has no part of plain text")
	}
	return "Subject: " + subject + "\n\n" + text, err
}

// whereNext says what to try after the demo.
func (d *demo) whereNext() {
	d.title("Where to look next")
	for _, line := range [...][2]string{
		{"mailwhy demo --full", "the whole log, and a bounce as it is sent"},
		{"mailwhy demo --keep", "goes on running, for your own mail"},
		{"mailwhy diagnose '550 5.7.1 ...'", "explains a reply that you already have"},
		{"mailwhy guide", "the guide's categories, and all reasons"},
		{"mailwhy serve --help", "the relay itself; README.md says how"},
	} {
		fmt.Fprintf(d.out, "%s  %s\n", terminal.Paint(d.color, terminal.Bold, fmt.Sprintf("%-32s", line[0])),
			line[1])
	}
}

// explainKeep prints how to point an application at the relay.
func (d *demo) explainKeep() {
	host, port, _ := strings.Cut(d.relay.Addrs()[0].String(), ":")
	d.title("Still running")
	fmt.Fprintf(d.out, `Point an application at it: host %s, port %s, no TLS, no password.
  SMTP_URL=smtp://%s:%s
Write to 550-5.1.1@any.test, full@any.test or any case of mailwhy practice --help,
and watch:
  mailwhy log -f %s
Interrupt to end; everything is removed then.
`, host, port, host, port, d.logFile())
}

func (d *demo) title(s string) {
	fmt.Fprintf(d.out, "\n%s\n\n", terminal.Paint(d.color, terminal.Bold, "=== "+s))
}

func (d *demo) paragraph(s string) { fmt.Fprintln(d.out, terminal.Fill(s, d.width)) }

// words are a snake_case name in words.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
