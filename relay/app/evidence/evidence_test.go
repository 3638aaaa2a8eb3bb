package evidence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/mail"
	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/smtptest/dnstest"
)

const body = "MIME-Version: 1.0\r\nSubject: Undelivered Mail\r\n\r\nI could not deliver it.\r\n"

// bounce is a mail of an author.
func bounce(author string) string { return "From: Mail System <" + author + ">\r\n" + body }

// keys signs mail, and says what DNS must have for it.
type keys struct {
	t    *testing.T
	key  ed25519.PrivateKey
	zone string
}

func newKeys(t *testing.T) *keys {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	return &keys{t: t, key: private, zone: `
		s._domainkey.there.example TXT "` + record + `"
		s._domainkey.mail.there.example TXT "` + record + `"
		s._domainkey.evil.example TXT "` + record + `"
		mx.there.example TXT "v=spf1 ip4:192.0.2.25 -all"
		lost.there.example SERVFAIL
		_spf.lost.there.example SERVFAIL
		s._domainkey.lost.there.example SERVFAIL
	`}
}

// sign signs a mail for a domain.
func (k *keys) sign(domain, content string) string {
	k.t.Helper()
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(content),
		&dkim.SignOptions{Domain: domain, Selector: "s", Signer: k.key})
	if err != nil {
		k.t.Fatal(err)
	}
	return out.String()
}

// journalled is a mail as the journal has it.
func journalled(t *testing.T, m *mail.Mail) (raw *feedback.Raw) {
	t.Helper()
	in := &mail.Intake{Source: "bounces", Reader: &mail.Reader{}, Now: time.Now,
		Record:  func(mail.Verdict, error) {},
		Journal: journal(func(r *feedback.Raw) { raw = r })}
	if verdict, err := in.Take(t.Context(), m); err != nil || raw == nil {
		t.Fatalf("not taken: %v, %v", verdict, err)
	}
	return raw
}

type journal func(*feedback.Raw)

func (j journal) Append(_ context.Context, raw *feedback.Raw) error { j(raw); return nil }

// TestEvidence: whose signature or name proves a mail system, and whose does not.
func TestEvidence(t *testing.T) {
	k := newKeys(t)
	server := dnstest.Start(t, k.zone)
	client := &dnsclient.Client{Servers: []string{server.Addr}, Timeout: 5 * time.Second}
	plain := []byte(bounce("mailer-daemon@there.example"))
	signed := k.sign("there.example", bounce("mailer-daemon@mx.there.example"))
	by := func(domain, author string) []byte { return []byte(k.sign(domain, bounce(author))) }
	for _, tt := range []struct {
		name    string
		mail    mail.Mail
		want    string // domains
		unknown bool
	}{
		{name: "signed", mail: mail.Mail{Content: []byte(signed)}, want: "there.example"},
		{name: "signed by a part of it", want: "mail.there.example",
			mail: mail.Mail{Content: by("mail.there.example", "Postmaster@there.example")}},
		{name: "out of a maildir", want: "there.example",
			mail: mail.Mail{Content: []byte(strings.ReplaceAll(signed, "\r\n", "\n"))}},
		{name: "changed", mail: mail.Mail{Content: []byte(signed + "More.\r\n")}},
		{name: "cut", mail: mail.Mail{Content: []byte(signed), Cut: true}},
		{name: "signed by another one",
			mail: mail.Mail{Content: by("evil.example", "mailer-daemon@there.example")}},
		{name: "a person of the same provider",
			mail: mail.Mail{Content: by("there.example", "mallory@there.example")}},
		{name: "two authors", mail: mail.Mail{Content: []byte("From: mallory@evil.example\r\n" + signed)}},
		{name: "nothing", mail: mail.Mail{Content: plain}},
		{name: "no key can be had", unknown: true,
			mail: mail.Mail{Content: by("lost.there.example", "postmaster@there.example")}},

		{name: "its host", want: "mx.there.example", mail: mail.Mail{
			Content: plain, Peer: "192.0.2.25", Hello: "MX.there.example"}},
		{name: "its host, by both", want: "there.example mx.there.example", mail: mail.Mail{
			Content: []byte(signed), Peer: "192.0.2.25", Hello: "mx.there.example"}},
		{name: "another host", mail: mail.Mail{
			Content: plain, Peer: "192.0.2.26", Hello: "mx.there.example"}},
		{name: "a host with a sender", mail: mail.Mail{From: "a@there.example",
			Content: plain, Peer: "192.0.2.25", Hello: "mx.there.example"}},
		{name: "an address for a name", mail: mail.Mail{
			Content: plain, Peer: "192.0.2.25", Hello: "192.0.2.25"}},
		{name: "no record can be had", unknown: true, mail: mail.Mail{
			Content: plain, Peer: "192.0.2.25", Hello: "lost.there.example"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.mail
			if m.From == "" {
				m.From = mail.NullSender
			}
			raw := &feedback.Raw{}
			if m.From == mail.NullSender {
				raw = journalled(t, &m)
			} else {
				raw.Body, raw.Header = m.Content, map[string]string{
					"Mail-From": m.From, "Peer": m.Peer, "Helo": m.Hello}
			}
			got := Of(t.Context(), client, raw)
			if strings.Join(got.Domains, " ") != tt.want || got.Unknown != tt.unknown {
				t.Errorf("%+v, want %q, unknown %t", got, tt.want, tt.unknown)
			}
		})
	}
}

// TestOffline: without DNS nothing is known, and that is known in time.
func TestOffline(t *testing.T) {
	k := newKeys(t)
	m := &mail.Mail{Content: []byte(k.sign("there.example", bounce("mailer-daemon@there.example"))),
		From: mail.NullSender, Peer: "192.0.2.25", Hello: "mx.there.example"}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	got := Of(ctx, silent{}, journalled(t, m))
	if !got.Unknown || len(got.Domains) > 0 || time.Since(began) > 5*time.Second {
		t.Errorf("%+v after %v", got, time.Since(began))
	}
}

// silent is DNS that never answers.
type silent struct{}

func (silent) Lookup(ctx context.Context, _ string, _ dnsclient.Type) (*dnsclient.Answer, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLookupsAreBounded: whoever writes a record decides how much is looked up, up to a bound.
func TestLookupsAreBounded(t *testing.T) {
	d := &endless{}
	m := &mail.Mail{Content: []byte(bounce("mailer-daemon@there.example")), From: mail.NullSender,
		Peer: "192.0.2.25", Hello: "mx.there.example"}
	if got := Of(t.Context(), d, journalled(t, m)); len(got.Domains) > 0 {
		t.Errorf("%+v", got)
	}
	if n := len(d.asked); n > maxLookups || n < 2 {
		t.Errorf("%d lookups: %v", n, d.asked)
	}
}

// endless is DNS with a record that refers to many more.
type endless struct{ asked []string }

func (d *endless) Lookup(_ context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error) {
	d.asked = append(d.asked, name)
	a := &dnsclient.Answer{Exists: true}
	if t == dnsclient.TXT {
		a.TXT = []string{"v=spf1 mx include:x" + name + " include:y" + name + " -all"}
	}
	for i := range 10 {
		a.MX = append(a.MX, dnsclient.Exchanger{Host: strings.Repeat("h", i+1) + name})
	}
	return a, nil
}
