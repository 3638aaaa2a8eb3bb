package dsn

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
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
	} else if f, err := r.Open(); err == nil {
		defer f.Close()
		if _, err := io.ReadAll(f); err == nil {
			t.Error("nothing is returned")
		}
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

var messageID = regexp.MustCompile(`^<[!-;=?A-~]+@[!-;=?A-~]+>$`)

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
	checkDate(t, e.get(t, "Date"), r.Time)
	if !messageID.MatchString(e.get(t, "Message-ID")) {
		t.Errorf("Message-ID: %s", e.get(t, "Message-ID"))
	}
	if e.get(t, "Subject") == "" {
		t.Error("no subject")
	}
	thread := r.Message.MessageID
	if !messageID.MatchString(thread) {
		thread = "" // nothing that could stand there
	}
	for _, name := range []string{"References", "In-Reply-To"} { // RFC 5322, 3.6.4
		if got := e.get(t, name); got != thread {
			t.Errorf("%s: %q, want %q", name, got, thread)
		}
	}
	_, params, _ := mime.ParseMediaType(e.get(t, "Content-Type"))
	if params["report-type"] != "delivery-status" {
		t.Errorf("report-type %q", params["report-type"])
	}
	known := []string{"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version",
		"In-Reply-To", "References", "Content-Type", "Content-Transfer-Encoding"}
	for _, f := range e.fields {
		if !slices.Contains(known, f.name) {
			t.Errorf("a header field that nobody wrote: %s: %s", f.name, f.value)
		}
	}
}

// checkDate holds that a date has a numeric zone (RFC 3464, 2.2.5), and that it is the right one.
func checkDate(t testing.TB, s string, want time.Time) {
	t.Helper()
	got, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", s)
	if err != nil || !got.Equal(want.Truncate(time.Second)) {
		t.Errorf("date %q (%v), want %v", s, err, want)
	}
}

// checkWords looks at part 1.
func checkWords(t testing.TB, e *entity, hostname string) {
	t.Helper()
	forms := e.parts(t, "multipart/alternative")
	if len(forms) != 2 || !strings.HasPrefix(forms[0].get(t, "Content-Type"), "text/plain;") ||
		!strings.HasPrefix(forms[1].get(t, "Content-Type"), "text/html;") {
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
	messageFields = []string{"Original-Envelope-Id", "Reporting-MTA", "DSN-Gateway", "Received-From-MTA",
		"Arrival-Date"}
	recipientFields = []string{
		"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
		"Last-Attempt-Date",
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
		checkRecipientBlock(t, &entity{fields: readFields(t, blocks[i+1])}, r, index)
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
		for i, line := range f.lines {
			if i == 0 {
				line = f.name + ":" + line
			}
			if len(line) > 78 &&
				strings.Contains(strings.TrimPrefix(strings.TrimSpace(line), f.name+": "), " ") {
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
	us := "x-local-hostname; " + hostname
	if strings.Contains(hostname, ".") {
		us = "dns; " + hostname
	}
	reporter, from, arrived := us, receivedFromMTA(&r.Message.Client), r.Message.Arrived
	if rc := &r.Message.Recipients[r.Recipients[0]]; isRemote(rc) {
		// Of what another system told it is the Reporting-MTA, which had the message from us, and we are the
		// gateway (2.2.3).
		reporter, from, arrived = "dns; "+rc.Last.ReportedBy, us, relayedAt(rc)
		if !strings.Contains(rc.Last.ReportedBy, ".") {
			reporter = "x-local-hostname; " + rc.Last.ReportedBy
		}
		if got := e.get(t, "DSN-Gateway"); got != us {
			t.Errorf("DSN-Gateway: %q, want %q", got, us)
		}
	} else {
		e.must(t, "DSN-Gateway", false)
	}
	if got := e.get(t, "Reporting-MTA"); got != reporter { // 2.2.2
		t.Errorf("Reporting-MTA: %q, want %q", got, reporter)
	}
	if got := e.get(t, "Received-From-MTA"); got != from { // 2.2.4
		t.Errorf("Received-From-MTA: %q, want %q", got, from)
	}
	if e.must(t, "Arrival-Date", !arrived.IsZero()) { // 2.2.5: at the Reporting-MTA
		checkDate(t, e.get(t, "Arrival-Date"), arrived)
	}
	if got := e.get(t, "X-Mailwhy-Queue-ID"); got != r.Message.ID {
		t.Errorf("X-Mailwhy-Queue-ID: %q", got)
	}
}

// isRemote reports whether it was told later what became of a recipient.
func isRemote(rc *relay.Recipient) bool {
	return rc.Last != nil && rc.Last.Stage == diagnose.StageRemote
}

// relayedAt is when the upstream took the message, as far as that is remembered.
func relayedAt(rc *relay.Recipient) time.Time {
	for _, h := range rc.History {
		if h.Event == relay.EventRelayed {
			return h.Time
		}
	}
	return time.Time{}
}

// receivedFromMTA is what the field must say of the tests' clients, who all have an address and a name.
func receivedFromMTA(c *relay.Client) string {
	kind := "x-local-hostname; "
	if regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`).MatchString(c.Hello) {
		kind = "dns; "
	}
	return kind + regexp.MustCompile(`[^!-'*-\[\]-~ ]`).ReplaceAllString(c.Hello, "?") + " ([" + c.Addr + "])"
}

// originalRecipientOf is the field's value for an ORCPT (RFC 3461, 4.2; RFC 6533, 3): the type, and the
// address decoded.
func originalRecipientOf(orcpt string) string {
	kind, value, _ := strings.Cut(orcpt, ";")
	code := regexp.MustCompile(`\+[0-9A-F]{2}|\\x\{[0-9A-F]+\}`)
	return kind + "; " + code.ReplaceAllStringFunc(value, func(s string) string {
		n, _ := strconv.ParseInt(strings.Trim(s, `+\x{}`), 16, 32)
		return string(rune(n))
	})
}

// statusOf is the status code of a recipient (RFC 3464, 2.3.4; RFC 3461, 6.3 (g)); "" where there was no
// reply, for the network error to tell.
func statusOf(kind relay.NoticeKind, rc *relay.Recipient) string {
	if isRemote(rc) && !regexp.MustCompile(`^[245][0-9][0-9][ -][245]\.`).MatchString(rc.Last.Reply.Raw) &&
		statusCode.MatchString(rc.Last.Status) {
		return rc.Last.Status // as told
	}
	if rc.Last == nil || rc.Last.Reply.Raw == "" {
		return ""
	}
	codes := regexp.MustCompile(`^([245])[0-9][0-9](?:[ -]([245]\.[0-9]+\.[0-9]+)\b)?`)
	m := codes.FindStringSubmatch(rc.Last.Reply.Raw)
	code := m[1] + ".0.0"
	if m[2] != "" && (kind == relay.NoticeRelayed) == (m[2][0] == '2') {
		code = m[2]
	}
	if kind == relay.NoticeDelayed { // RFC 3464, 2.3.4
		code = "4" + code[1:]
	}
	return code
}

var statusCode = regexp.MustCompile(`^[245]\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})$`)

// likeMe counts the recipients that have the same reply as one, and reports whether it is the first of them.
func likeMe(r *relay.Report, index int) (n int, first bool) {
	first = true
	mine := r.Message.Recipients[index].Last
	for _, i := range r.Recipients {
		if a := r.Message.Recipients[i].Last; a != nil && mine != nil && a.Reply.Raw == mine.Reply.Raw {
			n++
			first = first && i >= index
		}
	}
	return n, first
}

func checkRecipientBlock(t testing.TB, e *entity, r *relay.Report, index int) {
	t.Helper()
	rc := &r.Message.Recipients[index]
	like, first := likeMe(r, index)
	brief, full := like > 100 && !first, like <= 10 || first
	checkOrder(t, e, recipientFields)
	if e.must(t, "Original-Recipient", rc.ORCPT != "") { // 2.3.1
		if got, want := e.get(t, "Original-Recipient"), originalRecipientOf(rc.ORCPT); got != want {
			t.Errorf("Original-Recipient: %q, want %q", got, want)
		}
	}
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
	// 2.3.4
	if got := e.get(t, "Status"); !statusCode.MatchString(got) ||
		r.Kind == relay.NoticeRelayed != (got[0] == '2') {
		t.Errorf("Status: %q", got)
	} else if want := statusOf(r.Kind, rc); want != "" && got != want {
		t.Errorf("Status: %q, want %q", got, want)
	}
	if brief {
		if len(e.fields) != 3 {
			t.Errorf("a brief block has %d fields", len(e.fields))
		}
		return
	}
	replied := rc.Last != nil && rc.Last.Reply.Raw != ""
	named, dated := replied, rc.Last != nil
	if isRemote(rc) { // as far as it was told
		named, dated = rc.Last.Host != "", !rc.Last.Time.IsZero()
	}
	if e.must(t, "Remote-MTA", named) { // 2.3.5
		if got := e.get(t, "Remote-MTA"); got != "dns; "+rc.Last.Host {
			t.Errorf("Remote-MTA: %q", got)
		}
	}
	if e.must(t, "Diagnostic-Code", replied || isRemote(rc) && rc.Last.NetErr.Text != "") { // 2.3.6
		checkDiagnostic(t, e, rc)
	}
	if e.must(t, "Last-Attempt-Date", dated) {
		checkDate(t, e.get(t, "Last-Attempt-Date"), rc.Last.Time)
	}
	logID := r.Message.ID
	if isRemote(rc) {
		logID = rc.Last.UpstreamID
	}
	if got := e.get(t, "Final-Log-ID"); got != logID { // 2.3.8
		t.Errorf("Final-Log-ID: %q, want %q", got, logID)
	}
	if e.must(t, "Will-Retry-Until", r.Kind == relay.NoticeDelayed) { // 2.3.9
		checkDate(t, e.get(t, "Will-Retry-Until"), r.RetryUntil)
	}
	for _, name := range []string{"Category", "Reason", "Fix", "Rule", "Confidence"} {
		e.must(t, "X-Mailwhy-"+name, rc.Diagnosis != nil && r.Kind != relay.NoticeRelayed && full)
	}
}

// checkDiagnostic holds that the reply stands there word for word, its lines on lines of their own (RFC
// 3461, 9.2).
func checkDiagnostic(t testing.TB, e *entity, rc *relay.Recipient) {
	t.Helper()
	i := slices.IndexFunc(e.fields, func(f readField) bool { return f.name == "Diagnostic-Code" })
	f := e.fields[i]
	if rc.Last.Reply.Raw == "" { // words in its place
		if want := "x-mailwhy-told; " + rc.Last.NetErr.Text; f.value != want {
			t.Errorf("Diagnostic-Code: %q, want %q", f.value, want)
		}
		return
	}
	if !strings.HasPrefix(f.value, "smtp; ") {
		t.Errorf("Diagnostic-Code: %q", f.value)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(rc.Last.Reply.Raw, "\r\n"), "\r\n") {
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) ||
			len(f.value) > 4000 {
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
	// RFC 2046, 5.2.1
	if kind == "message/rfc822" && e.get(t, "Content-Transfer-Encoding") == "quoted-printable" {
		t.Error("message/rfc822 is encoded")
	}
	if !whole && strings.Contains(body, "\r\n\r\n") {
		t.Error("more than the header is returned")
	}
	checkSame(t, r, body, kind)
}

// checkSame holds that what is returned is what was sent: all of it, or its header.
func checkSame(t testing.TB, r *relay.Report, body, kind string) {
	t.Helper()
	f, err := r.Open()
	if err != nil {
		t.Fatalf("something is returned of what cannot be read: %v", err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatalf("something is returned of what cannot be read whole: %v", err)
	}
	sent := string(b)
	header, _, _ := strings.Cut("\n"+strings.ReplaceAll(sent, "\r\n", "\n"), "\n\n")
	// an encoded header has CRLF
	header = strings.ReplaceAll(strings.TrimPrefix(header+"\n", "\n"), "\n", "\r\n")
	want, global := header, strings.HasPrefix(kind, "message/global")
	if strings.HasPrefix(kind, "message/") && !strings.HasSuffix(kind, "-headers") {
		want = sent
	}
	if body != want {
		t.Errorf("returned: %q, sent: %q", body, want)
	}
	// RFC 6533, 4
	utf8 := strings.ContainsFunc(header, func(c rune) bool { return c >= 0x80 })
	if global != (utf8 && r.Message.Envelope.SMTPUTF8) {
		t.Errorf("part 3 is %s", kind)
	}
}
