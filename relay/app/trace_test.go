package app

import (
	"net/smtp"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/smtptest/events"
)

// TestTraceIsCarried: the ids of the field traceparent are in every event about the mail and its bounce,
// after a restart too, and the upstream gets the field as it came.
func TestTraceIsCarried(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	const field = "traceparent: 00-" + trace + "-" + span + "-01\r\n"
	s := newScene(t, "ses", "")
	content := field + "Message-ID: <traced@shop.test>\r\nSubject: x\r\n\r\nx\r\n"
	err := smtp.SendMail(s.app.Addrs()[0].String(), nil, "app@shop.test", []string{"ann@x.test"},
		[]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	m := s.taken("ann@x.test")
	if got := string(s.upstream.Messages()[0].Content); !strings.Contains(got, field) {
		t.Errorf("the upstream got %q", got)
	}
	s.line(relay.EventRelayed, "ann@x.test")
	s.stop()
	s.start()
	s.tell(m, events.Bounced, "ann@x.test", unknown)
	s.line(relay.EventBounced, "ann@x.test")
	s.bounce()
	s.line(relay.EventRelayed, "app@shop.test") // the bounce
	s.app.FlushLog()
	kinds := map[relay.EventKind]bool{}
	for line := range strings.Lines(s.log.String()) {
		e, err := record.Parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if e.ID == "" {
			continue
		}
		kinds[e.Kind] = true
		if e.TraceID != trace || e.SpanID != span {
			t.Errorf("without the trace: %s", line)
		}
	}
	if !kinds[relay.EventAccepted] || !kinds[relay.EventDSN] {
		t.Errorf("only these kinds of events were seen: %v", kinds)
	}
}
