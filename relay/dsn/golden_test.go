package dsn

import (
	"bytes"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

var update = flag.Bool("update", false, "write the golden files again")

// reportOf makes a report of a kind on a message with this content and these recipients.
func reportOf(kind relay.NoticeKind, content string, rs ...relay.Recipient) *relay.Report {
	arrived := time.Date(2026, 11, 23, 10, 0, 1, 0, time.FixedZone("", 3600))
	m := &relay.Message{
		ID: sampleID, Lane: "default", Arrived: arrived, Size: int64(len(content)), Recipients: rs,
		Envelope:  relay.Envelope{From: "shop@example.com"},
		Client:    relay.Client{Addr: "192.0.2.10", Hello: "shop"},
		MessageID: "<1042@shop.example.com>", Subject: "Your order 1042",
	}
	r := &relay.Report{
		ID: sampleDSNID, Time: arrived.Add(5 * time.Second), Kind: kind, To: m.Envelope.From, Message: m,
		RetryUntil: arrived.Add(5 * 24 * time.Hour),
		Open:       func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
	for i := range rs {
		r.Recipients = append(r.Recipients, i)
	}
	return r
}

// refused makes a recipient that was refused with a reply.
func refused(address string, state relay.State, reply string, d *diagnose.Diagnosis) relay.Recipient {
	rc := sampleRecipient(address, state, time.Date(2026, 11, 23, 10, 0, 3, 0, time.FixedZone("", 3600)),
		reply, d)
	rc.ORCPT, rc.Notify = "", 0
	return rc
}

// golden are the reports whose every byte is kept in testdata.
func golden() map[string]*relay.Report {
	cases := map[string]*relay.Report{
		"failed": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"failed-multi": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()),
			refused("Raj.Mixed-Case@Example.ORG", relay.Failed, sampleNoRoom, fullDiagnosis())),
		"failed-same": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed,
				"550 5.1.1 <jane@example.net> User unknown, id 4F1B2\r\n", unknownDiagnosis()),
			refused("raj@example.org", relay.Failed, "550 5.1.1 <raj@example.org> User unknown, id 4F1B3\r\n",
				unknownDiagnosis()),
			refused("Li.Na@example.net", relay.Failed,
				"550 5.1.1 <Li.Na@example.net> User unknown, id 4F1B4\r\n", unknownDiagnosis())),
		"failed-two-of-three": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()),
			refused("raj@example.org", relay.Failed, sampleNoRoom, fullDiagnosis()),
			refused("li@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"failed-own-fault": reportOf(relay.NoticeDelayed, sampleContent,
			refused("raj@example.org", relay.Deferred, "554 5.7.60 Not allowed to send as this sender\r\n",
				fullDiagnosis())),
		"delayed": reportOf(relay.NoticeDelayed, sampleContent,
			refused("raj@example.org", relay.Deferred, sampleFull, fullDiagnosis())),
		"relayed": reportOf(relay.NoticeRelayed, sampleContent,
			refused("jane@example.net", relay.Relayed, "250 2.0.0 Ok: queued as 4F1B2\r\n", nil)),
		"expired": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Expired, "", silentDiagnosis())),
		"suppressed": reportOf(relay.NoticeFailed, sampleContent,
			relay.Recipient{Address: "jane@example.net", State: relay.Suppressed}),
		"uncertain": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Expired, "", silentDiagnosis())),
		"utf8":      utf8Report(true),
		"utf8-7bit": utf8Report(false),
		"hostile":   hostileReport(),
		"ret-hdrs": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"ret-full-large": reportOf(relay.NoticeFailed,
			sampleContent+strings.Repeat("A line of a large message.\r\n", 2000),
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"ret-full-8bit": eightBitReport(true),
		"ret-full-7bit": eightBitReport(false),
		"unreadable": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
	}
	maps.Copy(cases, toldReports())
	multi := cases["failed-multi"].Message
	multi.Envelope.EnvID = "Order+1042 = big"
	multi.Recipients[0].ORCPT = "rfc822;Jane+2BDoe@example.net"
	multi.Recipients[1].ORCPT = "x400;/c+3Dus/"
	expired := &cases["expired"].Message.Recipients[0]
	expired.Attempts, expired.Last.Time = 31, expired.Last.Time.Add(5*24*time.Hour)
	expired.Last.NetErr = diagnose.NetErr{Kind: diagnose.NetTimeout,
		Text: "read tcp 192.0.2.10:42100->198.51.100.7:25: i/o timeout"}
	cases["uncertain"].Message.Recipients[0].Last.Uncertain = true
	cases["ret-hdrs"].Message.Envelope.Ret = relay.RetHeaders
	cases["ret-full-large"].Message.Envelope.Ret = relay.RetFull
	cases["unreadable"].Open = func() (io.ReadCloser, error) { return nil, relay.ErrCorrupt }
	return cases
}

// utf8Report is about an internationalized message (RFC 6531).
func utf8Report(eightBit bool) *relay.Report {
	content := "From: café@example.com\r\nTo: 用户@例子.example\r\nSubject: Grüße\r\nMessage-ID: " +
		"<1042@shop.example.com>\r\n\r\nGrüße\r\n"
	r := reportOf(relay.NoticeFailed, content,
		refused("用户@例子.example", relay.Failed,
			"550 5.1.1 用户 не найден\r\n", unknownDiagnosis()))
	r.Message.Envelope.SMTPUTF8, r.Message.Subject, r.EightBit = true, "Grüße", eightBit
	r.Message.Recipients[0].ORCPT = `utf-8;\x{7528}\x{6237}@\x{4F8B}\x{5B50}.example`
	return r
}

// eightBitReport is about a message with an 8-bit body.
func eightBitReport(eightBit bool) *relay.Report {
	content := sampleContent + "Grüße\r\n--=_" + sampleDSNID + "_1\r\n"
	r := reportOf(relay.NoticeFailed, content,
		refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
	r.EightBit, r.Message.Envelope.Ret = eightBit, relay.RetFull
	return r
}

// hostileReport is about a message whose every stranger tries to break out of the place for his words.
func hostileReport() *relay.Report {
	reply := "550-5.1.1 first\nFinal-Recipient: rfc822; forged@example.com\r\n" +
		"550-5.1.1 \x00\x1b[31mred\rX-Forged: 1\x0b \xff\xfe\u202e <script>alert(1)</script>\r\n" +
		"550-\r\n \r\n\r\n--=_" + sampleDSNID + "_1\r\nContent-Type: text/html\r\n\r\n" +
		"550 5.1.1 " + strings.Repeat("x", 3000) + strings.Repeat(" y", 3000) + "\r\n"
	r := reportOf(relay.NoticeFailed,
		"Message-ID: <1042@shop.example.com>\r\nX-Long: "+strings.Repeat("z", 2000)+
			"\r\nBcc: \xff\r\n\r\nbody\r\n",
		refused(`"a\" <b>"@example.net`, relay.Failed, reply, unknownDiagnosis()))
	m := r.Message
	m.Subject = "=?utf-8?q?a=0D=0ABcc:_forged@example.com=00?= {{.Host}} <b>bold</b>"
	m.MessageID = "<1042@shop.example.com>\r\nBcc: forged@example.com"
	m.Client.Hello = "shop.example.com (\r\nX-Forged: 2"
	m.Recipients[0].Last.Host = "mx.example.net\r\nX-Forged: 3"
	d := m.Recipients[0].Diagnosis
	d.Cause = "A cause\r\nX-Forged: 4 <img src=x onerror=alert(1)>"
	d.Fix = []string{"Step\r\n\r\nX-Forged: 5", "Schritt für Schritt"}
	d.Links = []string{"javascript:alert(1)", "https://example.com/?a=\"><script>", "https://example.com/a b"}
	return r
}

func TestGolden(t *testing.T) {
	for name, r := range golden() {
		t.Run(name, func(t *testing.T) {
			c := composer(t, nil)
			d, err := c.Compose(r)
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name+".eml", d.Content)
			if name != "hostile" { // what is forged there has a test of its own
				readDSN(t, r, "relay.example.com", d.Content)
			}
			again, err := c.Compose(r)
			if err != nil || !bytes.Equal(again.Content, d.Content) {
				t.Error("the same report comes out differently")
			}
			checkGoMessage(t, d.Content)
		})
	}
}

// checkGolden compares with testdata, or writes it.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; look at what -update makes of it", file)
	}
}

// checkGoMessage holds that go-message finds the same parts.
func checkGoMessage(t *testing.T, content []byte) {
	t.Helper()
	e, err := message.Read(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	err = e.Walk(func(_ []int, part *message.Entity, err error) error {
		if err != nil {
			return err
		}
		kind, _, err := part.Header.ContentType()
		types = append(types, kind)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(types[:5], " ")
	if got != "multipart/report multipart/alternative text/plain text/html message/delivery-status" &&
		got != "multipart/report multipart/alternative text/plain text/html message/global-delivery-status" {
		t.Errorf("go-message finds %s", got)
	}
}

// TestHostile holds that nothing that a stranger wrote becomes a field, a part or markup.
func TestHostile(t *testing.T) {
	r := hostileReport()
	d, err := composer(t, nil).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, d.Content)
	e := readEntity(t, string(d.Content))
	checkOuter(t, e, r)
	parts := e.parts(t, "multipart/report")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	checkWords(t, parts[0], "relay.example.com")
	checkReturned(t, parts[2], r)
	blocks := strings.Split(parts[1].decoded(t), "\r\n\r\n")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks", len(blocks))
	}
	checkMessageBlock(t, &entity{fields: readFields(t, blocks[0])}, r, "relay.example.com")
	block := &entity{fields: readFields(t, blocks[1])}
	checkOrder(t, block, recipientFields)
	if got := block.get(t, "Final-Recipient"); got != `rfc822; "a\" <b>"@example.net` {
		t.Errorf("Final-Recipient: %q", got)
	}
	if got := block.get(t, "Diagnostic-Code"); len(got) > 4200 ||
		strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Errorf("Diagnostic-Code is not cleaned and capped: %d bytes", len(got))
	}
	for line := range strings.SplitSeq(string(d.Content), "\r\n") {
		if strings.HasPrefix(line, "X-Forged") || strings.HasPrefix(line, "Bcc: forged") {
			t.Errorf("forged: %s", line)
		}
	}
	html := parts[0].parts(t, "multipart/alternative")[1].decoded(t)
	if strings.Contains(html, "<b>bold") || strings.Contains(html, "onerror=alert(1)>") {
		t.Error("markup of a stranger in the HTML")
	}
	if strings.Contains(html, "relay.example.com &lt;b&gt;") {
		t.Error("a template of a stranger was filled in")
	}
}

// TestPython holds that Python's email package reads each golden file without defects, and finds the fields.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("skipping: python3 is not installed")
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	args := append([]string{filepath.Join("testdata", "read.py")}, files...)
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "ok "); got != len(files) {
		t.Errorf("%d of %d files read:\n%s", got, len(files), out)
	}
}
