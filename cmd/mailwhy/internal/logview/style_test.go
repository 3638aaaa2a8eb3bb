package logview

import (
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

// TestStyle wraps an event with hanging indents, and gives its kind a colour.
func TestStyle(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	e := record.Event{V: 1, Time: at, Kind: relay.EventFailed, ID: "M1",
		From: "app@x.test", To: "user@y.test", Reply: "550 5.1.1 There is nobody here by that name\r\n",
		Diagnosis: &diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: "user_unknown",
			Owner: diagnose.OwnerApplication, Cause: "The receiving server does not know this recipient.",
			Fix: []string{"Check the address for a typo, and ask the recipient for the right one."}}}
	const want = `relay-1 | 2026-11-23 09:00:00.000Z failed     M1 <app@x.test> ->
    <user@y.test>  550 5.1.1 There is nobody here by that name
    reason    user unknown: the application must act (Invalid
              Address)
    cause     The receiving server does not know this recipient.
    fix       1. Check the address for a typo, and ask the
                 recipient for the right one.
    basis     ,  confidence
`
	if got := string(Style{Width: 64}.Append(nil, "relay-1 | ", &e)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got := string(Style{Color: true}.Append(nil, "relay-1 | ", &e))
	if !strings.Contains(got, "Z \x1b[31mfailed    \x1b[0m M1") ||
		!strings.Contains(got, "\n\x1b[1m    reason    user unknown") {
		t.Errorf("got %q", got)
	}
	plain := string(Style{}.Append(nil, "", &e))
	if strings.Contains(plain, "\x1b") || strings.Count(plain, "\n") != 5 {
		t.Errorf("got %q", plain)
	}
}
