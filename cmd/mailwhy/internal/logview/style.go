package logview

import (
	"bytes"
	"strings"

	"mailwhy/cmd/mailwhy/internal/terminal"
	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/record/deliverylog"
)

// Style is how events are shown to people. The zero Style neither wraps nor colours.
type Style struct {
	Width int // of the terminal; 0: nothing is wrapped
	Color bool
}

// Where the parts of the form for people stand, in columns (deliverylog.AppendText).
const (
	kindAt   = len("2006-01-02 15:04:05.000Z ")
	kindLen  = 10
	detailAt = 14 // the text of the lines below an event
	hangAt   = 4  // what is left of its first line
)

// Append appends an event in the form for people, with what stood before it in the log.
func (s Style) Append(b []byte, prefix string, e *record.Event) []byte {
	text := deliverylog.AppendText(nil, e)
	if s == (Style{}) {
		return append(append(b, prefix...), text...)
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if i == 0 {
			b = append(b, s.first(prefix, string(line), e.Kind)...)
		} else {
			b = append(b, s.detail(string(line))...)
		}
		b = append(b, '\n')
	}
	return b
}

// first is the line of an event itself: its kind has a colour.
func (s Style) first(prefix, line string, kind relay.EventKind) string {
	line = terminal.Wrap(prefix+line, s.Width, hangAt)
	at := len(prefix) + kindAt
	end := at + max(kindLen, len(kind))
	if !s.Color || len(line) < end || strings.Contains(line[:end], "\n") {
		return line
	}
	return line[:at] + terminal.Paint(true, styleOf(kind), line[at:end]) + line[end:]
}

// detail is a line below an event. The steps of a fix hang below their text, not below their number.
func (s Style) detail(line string) string {
	hang := detailAt
	if len(line) > detailAt+2 && line[detailAt] >= '0' && line[detailAt] <= '9' &&
		line[detailAt+1] == '.' {
		hang += 3
	}
	out := terminal.Wrap(line, s.Width, hang)
	if strings.HasPrefix(out, "    reason ") {
		return terminal.Paint(s.Color, terminal.Bold, out)
	}
	return out
}

// styleOf is the colour of a kind of event.
func styleOf(k relay.EventKind) terminal.Style {
	switch k {
	case relay.EventRelayed, relay.EventDelivered, relay.EventReleased:
		return terminal.Green
	case relay.EventFailed, relay.EventExpired, relay.EventBounced, relay.EventComplained,
		relay.EventRefused, relay.EventQuarantined, relay.EventSuppressed:
		return terminal.Red
	case relay.EventDeferred, relay.EventDelayed, relay.EventHeld, relay.EventRetrying, relay.EventLane,
		relay.EventWebhook:
		return terminal.Yellow
	}
	return terminal.Plain
}
