package democmd

import (
	"fmt"
	"strings"

	"mailwhy/cmd/mailwhy/internal/logview"
	"mailwhy/cmd/mailwhy/internal/terminal"
	"mailwhy/relay"
)

// showAll shows everything: the log in words, a line as it stands in the file, a bounce as it is sent, and
// the same refusal at once and later.
func (d *demo) showAll() error {
	d.title("The delivery log, as `mailwhy log` shows it")
	style := logview.Style{Width: d.width, Color: d.color}
	for i := range d.lines {
		d.out.Write(style.Append(nil, "", &d.lines[i]))
	}
	d.title("One of these lines as it stands in the file")
	for i, last := 0, d.last(explained); i < len(d.lines); i++ {
		if &d.lines[i] == last {
			fmt.Fprintln(d.out, d.raw[i])
		}
	}
	d.title("Refused in the session, and refused later: explained alike")
	fmt.Fprint(d.out, d.alike().Render(d.width, d.color))
	if err := d.showBounce(func(content string) (string, error) { return content, nil }); err != nil {
		return err
	}
	bounces, all := 0, d.upstream.Messages()
	for _, m := range all {
		if m.From == "" {
			bounces++
		}
	}
	d.title("The queue at the end")
	fmt.Fprintf(d.out, "No message waits; %d messages were relayed, %d bounces were sent.\n",
		len(all)-bounces, bounces)
	return nil
}

// alike puts the two refusals for a full mailbox side by side.
func (d *demo) alike() *terminal.Table {
	t := &terminal.Table{Head: []string{"RECIPIENT", "REFUSED", "REPLY", "CATEGORY", "WHY", "WHO MUST ACT"}}
	for _, to := range [...]string{fullAtOnce, fullLater} {
		e := d.last(to)
		when := "in the session"
		if e.Kind == relay.EventBounced {
			when = fmt.Sprintf("%.1f s after its 250, told by %s", e.DelayS, e.Source)
		}
		reply := strings.Fields(e.Reply)
		t.Rows = append(t.Rows, []string{to, when, strings.Join(reply[:min(4, len(reply))], " ") + " ...",
			string(e.Diagnosis.Category), words(string(e.Diagnosis.Reason)),
			words(string(e.Diagnosis.Owner))})
	}
	return t
}
