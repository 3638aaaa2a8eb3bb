package dsn

import (
	"strings"
	"testing"

	"mailwhy/diagnose"
)

func TestAnnotation(t *testing.T) {
	d := diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full", Rule: "full",
		Confidence: diagnose.High,
		Fix: []string{
			"Wait until the recipient makes room, which may take a while, and send it again.",
			"Tell them: reçu\r\nStatus: 2.0.0",
		}}
	got := string(Annotation(&d))
	for line := range strings.Lines(got) {
		if !strings.HasSuffix(line, "\r\n") || !strings.HasPrefix(line, "X-Mailwhy-") && line[0] != ' ' {
			t.Errorf("not a line of an X-Mailwhy field: %q", line)
		}
	}
	if n := strings.Count(got, "X-Mailwhy-"); n != 5 {
		t.Errorf("%d fields, want 5:\n%s", n, got)
	}
	if strings.ContainsFunc(got, func(r rune) bool { return r > '~' }) {
		t.Errorf("not ASCII:\n%s", got)
	}
}
