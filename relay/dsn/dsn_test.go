package dsn

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

var testKey = []byte("a key of the tests")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testOptions are complete.
func testOptions() Options {
	return Options{
		Hostname: "relay.example.com", From: "postmaster@relay.example.com", Key: testKey,
		ReturnLimit: 50_000,
		Log:         quiet(),
	}
}

// TestNewNamesWhatIsMissing: every required option that is not set is named, all at once.
func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := New(Options{})
	for _, name := range []string{"Hostname", "From", "Key"} {
		if err == nil || !strings.Contains(err.Error(), name+" must be set") {
			t.Errorf("New says %v, nothing of %s", err, name)
		}
	}
}

// composer makes a composer with the options of most tests.
func composer(t *testing.T, change func(*Options)) *Composer {
	t.Helper()
	o := testOptions()
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReturned(t *testing.T) {
	long := sampleContent + strings.Repeat("x", 1200) + "\r\n"
	bare := strings.ReplaceAll(sampleContent, "\r\n", "\n")
	const limit, whole, header = 50_000, "message/rfc822", "text/rfc822-headers"
	size := int64(len(sampleContent))
	for _, tt := range []struct {
		name, content string
		ret           relay.Ret
		kind          relay.NoticeKind
		limit         int64
		want          string
	}{
		{name: "RET=FULL", content: sampleContent, ret: relay.RetFull, limit: limit, want: whole},
		{name: "no RET", content: sampleContent, limit: limit, want: whole},
		{name: "RET=HDRS", content: sampleContent, ret: relay.RetHeaders, limit: limit, want: header},
		{name: "a delay", content: sampleContent, ret: relay.RetFull, kind: relay.NoticeDelayed, limit: limit,
			want: header},
		{name: "at the limit", content: sampleContent, ret: relay.RetFull, limit: size, want: whole},
		{name: "over the limit", content: sampleContent, ret: relay.RetFull, limit: size - 1, want: header},
		{name: "headers only", content: sampleContent, ret: relay.RetFull, limit: 0, want: header},
		{name: "a line too long", content: long, ret: relay.RetFull, limit: limit, want: header},
		{name: "bare line ends", content: bare, ret: relay.RetFull, limit: limit, want: header},
		{name: "NUL", content: sampleContent + "\x00\r\n", ret: relay.RetFull, limit: limit, want: header},
		{name: "no header", content: "\r\nbody\r\n", ret: relay.RetHeaders, limit: limit, want: header},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := reportOf(cmp.Or(tt.kind, relay.NoticeFailed), tt.content,
				refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
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
		rs = append(rs, refused("jane@example.net", relay.Failed, "550 "+strings.Repeat("x ", 1<<16)+"\r\n",
			unknownDiagnosis()))
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
	r := reportOf(relay.NoticeFailed, sampleContent,
		refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
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
	r := reportOf(relay.NoticeFailed, sampleContent,
		refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
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
	if !strings.Contains(string(d.Content), "Message-ID: "+d.MessageID+"\r\n") ||
		!OwnID(testKey, d.MessageID) {
		t.Errorf("Message-ID %s", d.MessageID)
	}
	r.To = "app@example.com"
	d, err = composer(t, func(o *Options) { o.From = "poststelle@grün.example" }).Compose(r)
	if err != nil || !d.UTF8 {
		t.Errorf("%v; a header with UTF-8 that is not said to need SMTPUTF8", err)
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
		// our own fault, so it waits
		{relay.NoticeDelayed, relay.Deferred, "550 5.7.60 not as this sender", "", "4.7.60"},
		{relay.NoticeDelayed, relay.Deferred, "554 Sending paused for this account", "", "4.0.0"},
		{relay.NoticeDelayed, relay.Deferred, "", diagnose.NetSizeExceeded, "4.3.4"},
		{relay.NoticeDelayed, relay.Deferred, "550 2.1.5 odd", "", "4.0.0"},
		{relay.NoticeFailed, relay.Expired, "550 5.7.60 not as this sender", "", "5.7.60"},
		{relay.NoticeRelayed, relay.Relayed, "250 5.1.1 odd", "", "2.0.0"},
		{relay.NoticeRelayed, relay.Relayed, "250 ok", "", "2.0.0"},
		{relay.NoticeRelayed, relay.Relayed, "250 2.6.0 ok", "", "2.6.0"},
	} {
		rc := relay.Recipient{State: tt.state,
			Last: &relay.Attempt{Reply: diagnose.ParseReply(tt.reply), NetErr: diagnose.NetErr{Kind: tt.net}}}
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
		m := &relay.Message{MessageID: tt.id, StatusReport: true}
		if got := IsOwn(tt.key, m, ""); got != tt.want {
			t.Errorf("IsOwn(%q, %q) = %v", tt.key, tt.id, got)
		}
	}
}

// TestTokenIsNotEnough: a bounce's Message-ID used again, in mail of somebody's own, does not make that a
// bounce.
func TestTokenIsNotEnough(t *testing.T) {
	id := MessageID(testKey, sampleDSNID, "relay.example.com")
	for _, tt := range []struct {
		from     string
		report   bool
		fallback string
		want     bool
	}{
		{"", true, "", true},
		{"Bounces@example.com", true, "bounces@EXAMPLE.com", true},
		{"", false, "", false},
		{"ann@example.com", true, "", false},
		{"ann@example.com", true, "bounces@example.com", false},
		{"bounces@example.com", false, "bounces@example.com", false},
		{"ann@example.com", false, "", false},
	} {
		m := &relay.Message{MessageID: id, Envelope: relay.Envelope{From: tt.from}, StatusReport: tt.report}
		if got := IsOwn(testKey, m, tt.fallback); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// FuzzReply holds that no reply breaks a report.
func FuzzReply(f *testing.F) {
	f.Add("550 5.1.1 no", "subject", false)
	f.Add(hostileReport().Message.Recipients[0].Last.Reply.Raw, "=?utf-8?q?=0D=0A?=", true)
	c, err := New(testOptions())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reply, subject string, utf8 bool) {
		r := reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, reply, unknownDiagnosis()))
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
