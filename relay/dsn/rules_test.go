package dsn

import (
	"bytes"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// The rules that the strict reader holds a DSN to, each with the section that it comes from.

// readDSN checks content against every rule that concerns the report r.
func readDSN(t testing.TB, r *relay.Report, hostname string, content []byte) (one, two, three *entity) {
	t.Helper()
	checkLines(t, content)
	e := readEntity(t, string(content))
	checkOuter(t, e, r)
	parts := e.parts(t, "multipart/report")
	if len(parts) < 2 || len(parts) > 3 { // RFC 6522, 3
		t.Fatalf("%d parts", len(parts))
	}
	checkWords(t, parts[0], hostname)
	checkStatus(t, parts[1], r, hostname)
	if len(parts) == 3 {
		three = parts[2]
		checkReturned(t, three, r)
	}
	eight := strings.ContainsFunc(e.body, func(c rune) bool { return c >= 0x80 })
	if got := e.get(t, "Content-Transfer-Encoding"); eight != (got == "8bit") { // RFC 2045, 6.4
		t.Errorf("8-bit content: %v, but the whole has the transfer encoding %q", eight, got)
	}
	if eight && !r.EightBit {
		t.Error("8-bit content, but its way does not take it")
	}
	return parts[0], parts[1], three
}

// checkLines holds RFC 5321, 4.5.3.1.6 and RFC 5322, 2.1.1.
func checkLines(t testing.TB, content []byte) {
	t.Helper()
	if bytes.Contains(bytes.ReplaceAll(content, []byte("\r\n"), nil), []byte("\n")) ||
		bytes.Contains(bytes.ReplaceAll(content, []byte("\r\n"), nil), []byte("\r")) {
		t.Error("a bare CR or LF")
	}
	for line := range bytes.SplitSeq(content, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if bytes.IndexByte(content, 0) >= 0 {
		t.Error("a NUL")
	}
}

// checkOuter holds RFC 3464, 2, RFC 3461, 6, RFC 6522, 3 and RFC 3834, 5.2.
func checkOuter(t testing.TB, e *entity, r *relay.Report) {
	t.Helper()
	if got := e.get(t, "To"); got != "<"+r.To+">" {
		t.Errorf("To: %s", got)
	}
	from, err := mail.ParseAddress(e.get(t, "From"))
	if err != nil || !strings.Contains(from.Address, "@") {
		t.Errorf("From: %v", err)
	}
	if e.get(t, "MIME-Version") != "1.0" || e.get(t, "Auto-Submitted") != "auto-replied" {
		t.Error("MIME-Version or Auto-Submitted is missing")
	}
	checkDate(t, e.get(t, "Date"))
	if !regexp.MustCompile(`^<[^<>@ ]+@[^<>@ ]+>$`).MatchString(e.get(t, "Message-ID")) {
		t.Errorf("Message-ID: %s", e.get(t, "Message-ID"))
	}
	if e.get(t, "Subject") == "" {
		t.Error("no subject")
	}
	if got, want := e.get(t, "References"), r.Message.MessageID; got != want && got != "" {
		t.Errorf("References: %s", got)
	}
	_, params, _ := mime.ParseMediaType(e.get(t, "Content-Type"))
	if params["report-type"] != "delivery-status" {
		t.Errorf("report-type %q", params["report-type"])
	}
	known := []string{"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "In-Reply-To", "References", "Content-Type", "Content-Transfer-Encoding"}
	for _, f := range e.fields {
		if !slices.Contains(known, f.name) {
			t.Errorf("a header field that nobody wrote: %s: %s", f.name, f.value)
		}
	}
}

// checkDate holds that a date has a numeric zone (RFC 3464, 2.2.5).
func checkDate(t testing.TB, s string) {
	t.Helper()
	if _, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", s); err != nil {
		t.Errorf("date %q: %v", s, err)
	}
}

// checkWords looks at part 1.
func checkWords(t testing.TB, e *entity, hostname string) {
	t.Helper()
	forms := e.parts(t, "multipart/alternative")
	if len(forms) != 2 || !strings.HasPrefix(forms[0].get(t, "Content-Type"), "text/plain;") || !strings.HasPrefix(forms[1].get(t, "Content-Type"), "text/html;") {
		t.Fatal("part 1 is not text and HTML")
	}
	text := forms[0].decoded(t)
	if !strings.HasPrefix(text, "This is the mail system at host "+hostname+".\r\n") {
		t.Errorf("the text begins %q", text[:min(len(text), 60)])
	}
	html := forms[1].decoded(t)
	for _, bad := range []string{"<script", "<img", "<link", "@import", "url(", "ZgotmplZ", "javascript:"} {
		if strings.Contains(strings.ToLower(html), bad) {
			t.Errorf("the HTML holds %s", bad)
		}
	}
}

// The fields of a delivery status in the order of RFC 3464, 2.2 and 2.3; extension fields come after them.
var (
	messageFields   = []string{"Original-Envelope-Id", "Reporting-MTA", "DSN-Gateway", "Received-From-MTA", "Arrival-Date"}
	recipientFields = []string{
		"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
		"Final-Log-ID", "Will-Retry-Until",
	}
)

// checkStatus holds RFC 3464, 2 and RFC 6533, 3 for part 2.
func checkStatus(t testing.TB, e *entity, r *relay.Report, hostname string) {
	t.Helper()
	body := e.decoded(t)
	switch kind := e.get(t, "Content-Type"); kind {
	case "message/delivery-status":
		if e.get(t, "Content-Transfer-Encoding") != "7bit" {
			t.Error("message/delivery-status is not 7bit")
		}
	case "message/global-delivery-status":
		if !r.Message.Envelope.SMTPUTF8 {
			t.Error("global-delivery-status on a message without SMTPUTF8")
		}
	default:
		t.Fatalf("part 2 is %s", kind)
	}
	blocks := strings.Split(body, "\r\n\r\n")
	if len(blocks) != 1+len(r.Recipients) {
		t.Fatalf("%d blocks for %d recipients", len(blocks), len(r.Recipients))
	}
	checkMessageBlock(t, &entity{fields: readFields(t, blocks[0])}, r, hostname)
	for i, index := range r.Recipients {
		checkRecipientBlock(t, &entity{fields: readFields(t, blocks[i+1])}, r, &r.Message.Recipients[index])
	}
}

// checkOrder holds the order of fields, that none is doubled, and that all others are extensions of ours.
func checkOrder(t testing.TB, e *entity, order []string) {
	t.Helper()
	at := -1
	seen := map[string]bool{}
	for _, f := range e.fields {
		if seen[f.name] {
			t.Errorf("field %s is doubled", f.name)
		}
		seen[f.name] = true
		i := slices.Index(order, f.name)
		if strings.HasPrefix(f.name, "X-Mailwhy-") {
			i = len(order)
		}
		if i < 0 || i < at {
			t.Errorf("field %s is unknown or out of order", f.name)
		}
		at = max(at, i)
		for _, line := range f.lines[1:] {
			if len(line) > 78 && strings.Count(strings.TrimSpace(line), " ") > 0 {
				t.Errorf("a line that could be folded has %d bytes: %s", len(line), line)
			}
		}
	}
}

// has reports whether the entity has a field, and complains if that is not as it must be.
func (e *entity) must(t testing.TB, name string, want bool) bool {
	t.Helper()
	has := slices.ContainsFunc(e.fields, func(f readField) bool { return f.name == name })
	if has != want {
		t.Errorf("field %s: there %v, must be %v", name, has, want)
	}
	return has && want
}

func checkMessageBlock(t testing.TB, e *entity, r *relay.Report, hostname string) {
	t.Helper()
	checkOrder(t, e, messageFields)
	if e.must(t, "Original-Envelope-Id", r.Message.Envelope.EnvID != "") { // 2.2.1
		if got := e.get(t, "Original-Envelope-Id"); got != r.Message.Envelope.EnvID {
			t.Errorf("Original-Envelope-Id: %q", got)
		}
	}
	want := "x-local-hostname; " + hostname
	if strings.Contains(hostname, ".") {
		want = "dns; " + hostname
	}
	if got := e.get(t, "Reporting-MTA"); got != want { // 2.2.2
		t.Errorf("Reporting-MTA: %q, want %q", got, want)
	}
	e.must(t, "DSN-Gateway", false)
	if e.must(t, "Arrival-Date", true) {
		checkDate(t, e.get(t, "Arrival-Date"))
	}
	if got := e.get(t, "X-Mailwhy-Queue-ID"); got != r.Message.ID {
		t.Errorf("X-Mailwhy-Queue-ID: %q", got)
	}
}

var statusCode = regexp.MustCompile(`^[245]\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})$`)

func checkRecipientBlock(t testing.TB, e *entity, r *relay.Report, rc *relay.Recipient) {
	t.Helper()
	checkOrder(t, e, recipientFields)
	e.must(t, "Original-Recipient", rc.ORCPT != "") // 2.3.1
	kind := "rfc822"
	if strings.ContainsFunc(rc.Address, func(c rune) bool { return c >= 0x80 }) {
		kind = "utf-8"
	}
	if got := e.get(t, "Final-Recipient"); got != kind+"; "+rc.Address { // 2.3.2
		t.Errorf("Final-Recipient: %q", got)
	}
	if got := e.get(t, "Action"); got != string(r.Kind) { // 2.3.3
		t.Errorf("Action: %q", got)
	}
	if got := e.get(t, "Status"); !statusCode.MatchString(got) || r.Kind == relay.NoticeRelayed != (got[0] == '2') { // 2.3.4
		t.Errorf("Status: %q", got)
	}
	replied := rc.Last != nil && rc.Last.Reply.Raw != ""
	e.must(t, "Remote-MTA", replied && rc.Last.Host != "") // 2.3.5
	if e.must(t, "Diagnostic-Code", replied) {             // 2.3.6
		checkDiagnostic(t, e, rc)
	}
	if e.must(t, "Last-Attempt-Date", rc.Last != nil) {
		checkDate(t, e.get(t, "Last-Attempt-Date"))
	}
	if e.must(t, "Will-Retry-Until", r.Kind == relay.NoticeDelayed) { // 2.3.9
		checkDate(t, e.get(t, "Will-Retry-Until"))
	}
	for _, name := range []string{"Category", "Reason", "Fix", "Rule", "Confidence"} {
		e.must(t, "X-Mailwhy-"+name, rc.Diagnosis != nil && r.Kind != relay.NoticeRelayed)
	}
}

// checkDiagnostic holds that the reply stands there word for word, its lines on lines of their own (RFC 3461, 9.2).
func checkDiagnostic(t testing.TB, e *entity, rc *relay.Recipient) {
	t.Helper()
	i := slices.IndexFunc(e.fields, func(f readField) bool { return f.name == "Diagnostic-Code" })
	f := e.fields[i]
	if !strings.HasPrefix(f.value, "smtp; ") {
		t.Errorf("Diagnostic-Code: %q", f.value)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(rc.Last.Reply.Raw, "\r\n"), "\r\n") {
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) || len(f.value) > 4000 {
			continue // cleaned or cut, which its own test looks at
		}
		start := line[:min(len(line), 40)]
		own := slices.ContainsFunc(f.lines, func(l string) bool {
			return strings.HasPrefix(l, " "+start) || strings.HasPrefix(l, " smtp; "+start)
		})
		if !own || !strings.Contains(f.value, strings.TrimRight(line, " ")) {
			t.Errorf("the line %q of the reply does not stand in %q", line, f.lines)
		}
	}
}

// checkReturned holds RFC 3461, 6.2, RFC 6522, 4 and RFC 6533, 4 for part 3.
func checkReturned(t testing.TB, e *entity, r *relay.Report) {
	t.Helper()
	kind := e.get(t, "Content-Type")
	body := e.decoded(t)
	whole := kind == "message/rfc822" || kind == "message/global"
	if whole && (r.Kind != relay.NoticeFailed || r.Message.Envelope.Ret == relay.RetHeaders) {
		t.Errorf("the whole message is returned: RET=%s, action %s", r.Message.Envelope.Ret, r.Kind)
	}
	if !whole && kind != "text/rfc822-headers" && kind != "message/global-headers" {
		t.Errorf("part 3 is %s", kind)
	}
	if kind == "message/rfc822" && e.get(t, "Content-Transfer-Encoding") == "quoted-printable" { // RFC 2046, 5.2.1
		t.Error("message/rfc822 is encoded")
	}
	if !whole && strings.Contains(body, "\r\n\r\n") {
		t.Error("more than the header is returned")
	}
	if !strings.Contains(strings.ToLower("\r\n"+body), "\r\nmessage-id:") && r.Message.MessageID != "" {
		t.Error("the returned header has no Message-ID")
	}
}
