package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log/slog"
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

var update = flag.Bool("update", false, "write the golden files anew")

var testKey = []byte("a key of the tests")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// composer makes a composer with the options of most tests.
func composer(t *testing.T, change func(*Options)) *Composer {
	t.Helper()
	o := Options{Hostname: "relay.example.com", Key: testKey, Log: quiet()}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

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
	rc := sampleRecipient(address, state, time.Date(2026, 11, 23, 10, 0, 3, 0, time.FixedZone("", 3600)), reply, d)
	rc.ORCPT, rc.Notify = "", 0
	return rc
}

// golden are the reports whose every byte is kept in testdata.
func golden() map[string]*relay.Report {
	cases := map[string]*relay.Report{
		"failed": reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"failed-multi": reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()),
			refused("Raj.Mixed-Case@Example.ORG", relay.Failed, sampleNoRoom, fullDiagnosis())),
		"delayed":    reportOf(relay.NoticeDelayed, sampleContent, refused("raj@example.org", relay.Deferred, sampleFull, fullDiagnosis())),
		"relayed":    reportOf(relay.NoticeRelayed, sampleContent, refused("jane@example.net", relay.Relayed, "250 2.0.0 Ok: queued as 4F1B2\r\n", nil)),
		"expired":    reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Expired, "", silentDiagnosis())),
		"suppressed": reportOf(relay.NoticeFailed, sampleContent, relay.Recipient{Address: "jane@example.net", State: relay.Suppressed}),
		"utf8":       utf8Report(true),
		"utf8-7bit":  utf8Report(false),
		"hostile":    hostileReport(),
		"ret-hdrs":   reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"ret-full-large": reportOf(relay.NoticeFailed, sampleContent+strings.Repeat("A line of a large message.\r\n", 2000),
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
		"ret-full-8bit": eightBitReport(true),
		"ret-full-7bit": eightBitReport(false),
		"unreadable":    reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())),
	}
	multi := cases["failed-multi"].Message
	multi.Envelope.EnvID = "Order+1042 = big"
	multi.Recipients[0].ORCPT = "rfc822;Jane+2BDoe@example.net"
	multi.Recipients[1].ORCPT = "x400;/c+3Dus/"
	expired := &cases["expired"].Message.Recipients[0]
	expired.Attempts, expired.Last.Time = 31, expired.Last.Time.Add(5*24*time.Hour)
	expired.Last.NetErr = diagnose.NetErr{Kind: diagnose.NetTimeout, Text: "read tcp 192.0.2.10:42100->198.51.100.7:25: i/o timeout"}
	cases["ret-hdrs"].Message.Envelope.Ret = relay.RetHeaders
	cases["ret-full-large"].Message.Envelope.Ret = relay.RetFull
	cases["unreadable"].Open = func() (io.ReadCloser, error) { return nil, relay.ErrCorrupt }
	return cases
}

// utf8Report is about an internationalized message (RFC 6531).
func utf8Report(eightBit bool) *relay.Report {
	content := "From: café@example.com\r\nTo: 用户@例子.example\r\nSubject: Grüße\r\nMessage-ID: <1042@shop.example.com>\r\n\r\nGrüße\r\n"
	r := reportOf(relay.NoticeFailed, content, refused("用户@例子.example", relay.Failed, "550 5.1.1 用户 не найден\r\n", unknownDiagnosis()))
	r.Message.Envelope.SMTPUTF8, r.Message.Subject, r.EightBit = true, "Grüße", eightBit
	r.Message.Recipients[0].ORCPT = `utf-8;\x{7528}\x{6237}@\x{4F8B}\x{5B50}.example`
	return r
}

// eightBitReport is about a message with an 8-bit body.
func eightBitReport(eightBit bool) *relay.Report {
	content := sampleContent + "Grüße\r\n--=_" + sampleDSNID + "_1\r\n"
	r := reportOf(relay.NoticeFailed, content, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
	r.EightBit, r.Message.Envelope.Ret = eightBit, relay.RetFull
	return r
}

// hostileReport is about a message whose every stranger tries to break out of the place for his words.
func hostileReport() *relay.Report {
	reply := "550-5.1.1 first\nFinal-Recipient: rfc822; forged@example.com\r\n" +
		"550-5.1.1 \x00\x1b[31mred\rX-Forged: 1\x0b \xff\xfe\u202e <script>alert(1)</script>\r\n" +
		"550-\r\n \r\n\r\n--=_" + sampleDSNID + "_1\r\nContent-Type: text/html\r\n\r\n" +
		"550 5.1.1 " + strings.Repeat("x", 3000) + strings.Repeat(" y", 3000) + "\r\n"
	r := reportOf(relay.NoticeFailed, "Message-ID: <1042@shop.example.com>\r\nX-Long: "+strings.Repeat("z", 2000)+"\r\nBcc: \xff\r\n\r\nbody\r\n",
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
			checkGolden(t, name, d.Content)
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
	file := filepath.Join("testdata", name+".eml")
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
	checkReturned(t, parts[2], reportOf(relay.NoticeFailed, ""))
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
	if got := block.get(t, "Diagnostic-Code"); len(got) > 4200 || strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) {
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
	out, err := exec.Command(python, append([]string{filepath.Join("testdata", "read.py")}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "ok "); got != len(files) {
		t.Errorf("%d of %d files read:\n%s", got, len(files), out)
	}
}

func TestReturned(t *testing.T) {
	long := sampleContent + strings.Repeat("x", 1200) + "\r\n"
	bare := strings.ReplaceAll(sampleContent, "\r\n", "\n")
	for _, tt := range []struct {
		name, content string
		ret           relay.Ret
		kind          relay.NoticeKind
		limit         int64
		want          string
	}{
		{"RET=FULL", sampleContent, relay.RetFull, relay.NoticeFailed, 0, "message/rfc822"},
		{"no RET", sampleContent, "", relay.NoticeFailed, 0, "message/rfc822"},
		{"RET=HDRS", sampleContent, relay.RetHeaders, relay.NoticeFailed, 0, "text/rfc822-headers"},
		{"a delay", sampleContent, relay.RetFull, relay.NoticeDelayed, 0, "text/rfc822-headers"},
		{"at the limit", sampleContent, relay.RetFull, relay.NoticeFailed, int64(len(sampleContent)), "message/rfc822"},
		{"over the limit", sampleContent, relay.RetFull, relay.NoticeFailed, int64(len(sampleContent)) - 1, "text/rfc822-headers"},
		{"headers only", sampleContent, relay.RetFull, relay.NoticeFailed, -1, "text/rfc822-headers"},
		{"a line too long", long, relay.RetFull, relay.NoticeFailed, 0, "text/rfc822-headers"},
		{"bare line ends", bare, relay.RetFull, relay.NoticeFailed, 0, "text/rfc822-headers"},
		{"NUL", sampleContent + "\x00\r\n", relay.RetFull, relay.NoticeFailed, 0, "text/rfc822-headers"},
		{"no header", "\r\nbody\r\n", relay.RetHeaders, relay.NoticeFailed, 0, "text/rfc822-headers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := reportOf(tt.kind, tt.content, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
			r.Message.Envelope.Ret = tt.ret
			if tt.name == "no header" {
				r.Message.MessageID = ""
			}
			d, err := composer(t, func(o *Options) { o.ReturnLimit = tt.limit }).Compose(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _, three := readDSN(t, r, "relay.example.com", d.Content)
			if got := three.get(t, "Content-Type"); got != tt.want {
				t.Errorf("returned as %s, want %s", got, tt.want)
			}
		})
	}
}

// TestBounded holds that the size of a report does not follow that of the message.
func TestBounded(t *testing.T) {
	var rs []relay.Recipient
	for range 100 {
		rs = append(rs, refused("jane@example.net", relay.Failed, "550 "+strings.Repeat("x ", 1<<16)+"\r\n", unknownDiagnosis()))
	}
	r := reportOf(relay.NoticeFailed, "X-A: "+strings.Repeat("b\r\n ", 1<<20)+"\r\n\r\n", rs...)
	d, err := composer(t, nil).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Content) > 1<<21 {
		t.Errorf("a report of %d bytes", len(d.Content))
	}
	checkLines(t, d.Content)
}

func TestReadErrorMidway(t *testing.T) {
	r := reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
	r.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(sampleContent[:100]), failing{})), nil
	}
	d, err := composer(t, nil).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, three := readDSN(t, r, "relay.example.com", d.Content); three != nil {
		t.Errorf("damaged content is returned: %v", three)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("damaged") }

func TestHostnameWithoutDomain(t *testing.T) {
	r := reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
	d, err := composer(t, func(o *Options) { o.Hostname = "pod-7f9c" }).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	readDSN(t, r, "pod-7f9c", d.Content)
}

func TestDraft(t *testing.T) {
	r := utf8Report(true)
	r.To = "café@example.com"
	d, err := composer(t, nil).Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	if !d.EightBit || !d.UTF8 || d.From != "postmaster@relay.example.com" {
		t.Errorf("8-bit %v, UTF-8 %v, from %s", d.EightBit, d.UTF8, d.From)
	}
	if !strings.Contains(string(d.Content), "Message-ID: "+d.MessageID+"\r\n") || !IsOwn(testKey, d.MessageID) {
		t.Errorf("Message-ID %s", d.MessageID)
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		kind  relay.NoticeKind
		state relay.State
		reply string
		net   diagnose.NetKind
		want  string
	}{
		{relay.NoticeFailed, relay.Failed, "550 5.1.1 no", "", "5.1.1"},
		{relay.NoticeFailed, relay.Failed, "550 5.7.705 over", "", "5.7.705"},
		{relay.NoticeFailed, relay.Failed, "550 4.2.2 full", "", "4.2.2"},
		{relay.NoticeFailed, relay.Failed, "550 2.1.5 odd", "", "5.0.0"},
		{relay.NoticeFailed, relay.Failed, "550 no", "", "5.0.0"},
		{relay.NoticeFailed, relay.Expired, "451 4.3.0 later", "", "4.3.0"},
		{relay.NoticeFailed, relay.Expired, "451 later", "", "4.0.0"},
		{relay.NoticeFailed, relay.Expired, "", diagnose.NetExpired, "4.4.7"},
		{relay.NoticeFailed, relay.Expired, "", diagnose.NetRefused, "4.4.1"},
		{relay.NoticeFailed, relay.Failed, "", diagnose.NetSizeExceeded, "5.3.4"},
		{relay.NoticeFailed, relay.Failed, "", diagnose.NetUTF8Unavailable, "5.6.7"},
		{relay.NoticeDelayed, relay.Deferred, "", diagnose.NetDNSFailure, "4.4.3"},
		{relay.NoticeDelayed, relay.Deferred, "450 4.2.0 grey", "", "4.2.0"},
		{relay.NoticeRelayed, relay.Relayed, "250 ok", "", "2.0.0"},
		{relay.NoticeRelayed, relay.Relayed, "250 2.6.0 ok", "", "2.6.0"},
	} {
		rc := relay.Recipient{State: tt.state, Last: &relay.Attempt{Reply: diagnose.ParseReply(tt.reply), NetErr: diagnose.NetErr{Kind: tt.net}}}
		if got := status(tt.kind, &rc); got != tt.want {
			t.Errorf("%s, %s %q %s: %s, want %s", tt.kind, tt.state, tt.reply, tt.net, got, tt.want)
		}
	}
	if got := status(relay.NoticeFailed, &relay.Recipient{State: relay.Suppressed}); got != "5.0.0" {
		t.Errorf("never tried: %s", got)
	}
}

func TestIsOwn(t *testing.T) {
	id := MessageID(testKey, sampleDSNID, "relay.example.com")
	for _, tt := range []struct {
		id   string
		key  []byte
		want bool
	}{
		{id, testKey, true},
		{strings.ToLower(id), testKey, true},
		{strings.Replace(id, "relay.example.com", "elsewhere", 1), testKey, true},
		{id, []byte("another key"), false},
		{id, nil, false},
		{strings.Replace(id, "1", "2", 1), testKey, false},
		{"<" + sampleDSNID + ".@relay.example.com>", testKey, false},
		{"<1042@shop.example.com>", testKey, false},
		{"", testKey, false},
	} {
		if got := IsOwn(tt.key, tt.id); got != tt.want {
			t.Errorf("IsOwn(%q, %q) = %v", tt.key, tt.id, got)
		}
	}
}

// FuzzReply holds that no reply breaks a report.
func FuzzReply(f *testing.F) {
	f.Add("550 5.1.1 no", "subject", false)
	f.Add(hostileReport().Message.Recipients[0].Last.Reply.Raw, "=?utf-8?q?=0D=0A?=", true)
	c, err := New(Options{Hostname: "relay.example.com", Key: testKey, Log: quiet()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reply, subject string, utf8 bool) {
		r := reportOf(relay.NoticeFailed, sampleContent, refused("jane@example.net", relay.Failed, reply, unknownDiagnosis()))
		r.Message.Subject, r.Message.Envelope.SMTPUTF8 = subject, utf8
		d, err := c.Compose(r)
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, d.Content)
		parts := readEntity(t, string(d.Content)).parts(t, "multipart/report")
		blocks := strings.Split(parts[1].decoded(t), "\r\n\r\n")
		if len(parts) != 3 || len(blocks) != 2 {
			t.Fatalf("%d parts, %d blocks", len(parts), len(blocks))
		}
		checkOrder(t, &entity{fields: readFields(t, blocks[1])}, recipientFields)
	})
}
