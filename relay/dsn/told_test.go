package dsn

import (
	"io"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// told makes a recipient whose fate the upstream told after its 250.
func told(address, host, reply string, d *diagnose.Diagnosis) relay.Recipient {
	rc := refused(address, relay.Relayed, reply, d)
	rc.Last.Stage, rc.Last.Host = diagnose.StageRemote, host
	rc.Last.ReportedBy, rc.Last.UpstreamID = "smtp.provider.example", "0102abc"
	rc.History = []relay.HistoryEntry{{Time: rc.Last.Time.Add(-time.Second), Event: relay.EventRelayed}}
	return rc
}

// toldReports are reports on what was told after the upstream's 250: with a reply, with words in its place,
// with neither, about a delay, about several, and with everything that could do harm.
func toldReports() map[string]*relay.Report {
	words := told("jane@example.net", "", "", unknownDiagnosis())
	words.Last.Status, words.Last.NetErr.Text = "5.1.1", "Not delivering to previously bounced address"
	words.History = nil
	silent := told("jane@example.net", "", "", unknownDiagnosis())
	silent.Last.Time, silent.Last.UpstreamID, silent.Last.ReportedBy = time.Time{}, "", "ses"
	cases := map[string]*relay.Report{
		"told": reportOf(relay.NoticeFailed, sampleContent,
			told("jane@example.net", "mx.example.net", sampleUnknown, unknownDiagnosis())),
		"told-words":  reportOf(relay.NoticeFailed, sampleContent, words),
		"told-silent": reportOf(relay.NoticeFailed, sampleContent, silent),
		"told-delayed": reportOf(relay.NoticeDelayed, sampleContent,
			told("raj@example.org", "mx.example.org", sampleFull, fullDiagnosis())),
		"told-several": reportOf(relay.NoticeFailed, sampleContent,
			told("jane@example.net", "mx.example.net", sampleUnknown, unknownDiagnosis()),
			told("raj@example.org", "mx.example.org", sampleNoRoom, fullDiagnosis())),
	}
	cases["told"].Message.Envelope.EnvID, cases["told"].Message.Recipients[0].ORCPT = "order-1042",
		"rfc822;jane@example.net"
	for _, name := range []string{"told-words", "told-silent"} { // the content is gone
		cases[name].Open = func() (io.ReadCloser, error) { return nil, relay.ErrNotFound }
	}
	return cases
}

// wordsOf are the text and the HTML of a report.
func wordsOf(t *testing.T, r *relay.Report) (text, html string) {
	t.Helper()
	d, err := composer(t, nil).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	one, _, _ := readDSN(t, r, "relay.example.com", d.Content)
	forms := one.parts(t, "multipart/alternative")
	return strings.Join(strings.Fields(forms[0].decoded(t)), " "),
		strings.Join(strings.Fields(forms[1].decoded(t)), " ")
}

// TestToldWords: a person reads that the message was taken and reported later as refused, by whom, and why,
// in the text and in the HTML.
func TestToldWords(t *testing.T) {
	cases := toldReports()
	for name, want := range map[string][]string{
		"told": {"was not delivered to jane@example.net. The mail server smtp.provider.example took it, " +
			"and reported later that it was refused by mx.example.net.", "refused", "does not exist",
			"Told by: smtp.provider.example", "Invalid Address", "Check the address for a typing mistake."},
		"told-words": {"took it, and reported later that it could not be delivered.",
			"not delivered", "Not delivering to previously bounced address",
			"Your message is no longer stored here"},
		"told-silent": {"The mail server ses took it", "none: the report quotes none"},
		"told-delayed": {"has not been delivered yet. " +
			"The mail server smtp.provider.example took it, and goes on"},
		"told-several": {"2 of its recipients", "reported later that it could not be delivered.",
			"mx.example.net", "mx.example.org"},
	} {
		text, html := wordsOf(t, cases[name])
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: the text does not say %q:\n%s", name, w, text)
			}
			if !strings.Contains(html, w) {
				t.Errorf("%s: the HTML does not say %q:\n%s", name, w, html)
			}
		}
		for _, wrong := range []string{"No reply", "could not be asked", "attempts", "handed on"} {
			if strings.Contains(text, wrong) || strings.Contains(html, wrong) {
				t.Errorf("%s says %q:\n%s", name, wrong, text)
			}
		}
	}
}

// TestToldStatus: the Status is the reply's, else the one that was told, and never the guide's.
func TestToldStatus(t *testing.T) {
	for _, tt := range []struct {
		kind          relay.NoticeKind
		reply, status string
		want          string
	}{
		{relay.NoticeFailed, "550 5.1.1 no\r\n", "5.2.2", "5.1.1"},
		{relay.NoticeFailed, "550 no\r\n", "5.2.2", "5.2.2"},
		{relay.NoticeFailed, "452 full\r\n", "4.2.2", "4.2.2"}, // given up after a temporary refusal
		{relay.NoticeFailed, "550 no\r\n", "", "5.0.0"},
		{relay.NoticeFailed, "", "5.1.1", "5.1.1"},
		{relay.NoticeFailed, "", "2.0.0", "5.0.0"},
		{relay.NoticeFailed, "", "5.1", "5.0.0"},
		{relay.NoticeFailed, "", "5.7.99999", "5.0.0"},
		{relay.NoticeFailed, "", "", "5.0.0"},
		{relay.NoticeDelayed, "550 not now\r\n", "5.7.1", "4.7.1"},
		{relay.NoticeDelayed, "", "", "4.0.0"},
	} {
		rc := told("a@b.example", "mx.b.example", tt.reply, fullDiagnosis())
		rc.Last.Status = tt.status
		if got := status(tt.kind, &rc); got != tt.want {
			t.Errorf("%s, %q, %q: %s, want %s", tt.kind, tt.reply, tt.status, got, tt.want)
		}
	}
}

// TestToldBySeveral: where the recipients' fates were told by different systems, the upstream's name stands
// for them, and ours never.
func TestToldBySeveral(t *testing.T) {
	r := toldReports()["told-several"]
	r.Message.Recipients[1].Last.ReportedBy = "mx.elsewhere.example"
	if by := toldBy(r); by != "default" {
		t.Errorf("told by %q", by)
	}
	for i := range r.Message.Recipients {
		r.Message.Recipients[i].Last.ReportedBy = ""
	}
	if by := toldBy(r); by != "default" {
		t.Errorf("told by %q", by)
	}
	if by := toldBy(golden()["failed"]); by != "" {
		t.Errorf("a refusal in the session is told by %q", by)
	}
}

// TestToldHostile: nothing that was told can end a field or become markup.
func TestToldHostile(t *testing.T) {
	r := toldReports()["told-words"]
	a := r.Message.Recipients[0].Last
	a.ReportedBy = "smtp.provider.example\r\nX-Forged: 1"
	a.Host, a.UpstreamID, a.Status = "mx\r\nX-Forged: 2", "id\r\nX-Forged: 3", "5.1.1\r\nX-Forged: 4"
	a.NetErr.Text = "words\r\nX-Forged: 5 <script>alert(1)</script> " + strings.Repeat("x", 100_000)
	d, err := composer(t, nil).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	content := string(d.Content)
	_, html, _ := strings.Cut(content, "<!DOCTYPE html>")
	html, _, found := strings.Cut(html, "</html>")
	if !found || strings.Contains(content, "\nX-Forged") || strings.Contains(html, "<script") {
		t.Errorf("forged:\n%.3000s", content)
	}
	if len(content) > 40_000 {
		t.Errorf("%d bytes", len(content))
	}
	checkLines(t, d.Content)
}

// TestPreviewOfBounced: a relayed message is no longer stored, so the preview returns none.
func TestPreviewOfBounced(t *testing.T) {
	c := composer(t, nil)
	_, text, _, err := c.PreviewWords("bounced")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "no longer stored here") {
		t.Errorf("it does not say that the message is gone:\n%s", text)
	}
}

// TestComplaintIsNoBounce: a message that somebody complains of arrived.
func TestComplaintIsNoBounce(t *testing.T) {
	r := toldReports()["told"]
	r.Message.Recipients[0].Diagnosis.Reason = diagnose.ReasonSpamComplaint
	if _, err := composer(t, nil).Compose(r); err == nil {
		t.Error("a complaint was reported as a failure")
	}
}
