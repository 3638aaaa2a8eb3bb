package upstream

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/preset"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// provider is an imitation with a pool that is set up as its preset says.
type provider struct {
	i *imitation.Imitation
	p *preset.Preset
	s *smtptest.Server
}

// newProvider starts an imitation, with the one user u@a.test and password p.
func newProvider(t *testing.T, name string) *provider {
	t.Helper()
	v := named(t, name)
	o, err := v.i.Options(smtptest.Options{}, imitation.Settings{Users: map[string]string{"u@a.test": "p"}})
	if err != nil {
		t.Fatal(err)
	}
	v.s = smtptest.New(t, o)
	return v
}

// named is a provider that does not run yet.
func named(t *testing.T, name string) *provider {
	t.Helper()
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	i, err := imitation.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return &provider{i: i, p: set.ByName(name)}
}

// pool is a client for the provider.
func (v *provider) pool(t *testing.T, change func(*Options)) *Pool {
	t.Helper()
	return newPool(t, v.s.Addr(), func(o *Options) {
		v.options(o, "p")
		if change != nil {
			change(o)
		}
	})
}

// options are those of the preset.
func (v *provider) options(o *Options, password string) {
	o.TLS.Mode, o.TLS.NoVerify = TLSRequired, true
	if v.p.Ports.Value[0].Mode == preset.Implicit {
		o.TLS.Mode = TLSImplicit
	}
	mechanisms := v.p.Auth.Value
	if !v.p.Auth.Known() {
		mechanisms = []string{"PLAIN", "LOGIN"}
	}
	o.Auth = &Credentials{
		Username: "u@a.test", Password: func() (string, error) { return password, nil },
		Mechanisms: mechanisms,
	}
	o.MaxIdle, o.MaxMessages = time.Duration(v.p.Idle.Value), v.p.Messages.Value
	o.RcptMax = v.p.Recipients.Value
}

// from is a message of another sender.
func from(sender string, rcpts ...string) *relay.Transaction {
	t := message("Message-ID: <own.id@a.test>\r\n\r\nx\r\n", rcpts...)
	t.From, t.Message.Envelope.From = sender, sender
	return t
}

// upstreamIDs are the forms of the ids that the providers give in their final 250.
func upstreamIDs() map[string]string {
	const hex, token = `[0-9a-fA-F]`, `[A-Z2-7]`
	const uuid = hex + `{8}(-` + hex + `{4}){3}-` + hex + `{12}`
	plain := hex + `{10}`
	return map[string]string{
		"ses": `0102` + hex + `{12}-` + uuid + `-000000`, "m365": `own\.id@a\.test`, "gmail": hex + `{24}`,
		"gmail-relay": plain, "sendgrid": token + `{22}`, "mailgun": ``, "postmark": hex + `{12}`,
		"sparkpost": hex + `{2}/` + hex + `{2}-` + hex + `{5}-` + hex + `{8}`, "mailjet": uuid,
		"brevo": `own\.id@a\.test`, "smtp2go": token + `{6}-` + token + `{6}-` + token + `{2}`,
		"resend": uuid, "mailersend": plain, "mailtrap": plain, "zoho": plain, "fastmail": plain,
		"ovh": plain, "ionos": `1` + token + `{5}-1` + token + `{9}-00` + token + `{4}`,
		"scaleway": plain, "azure": plain, "elastic": plain,
		"yandex": `\d+-` + token + `{9}-` + token + `{8}`, "qq": ``, "163": `gzga-\S+`,
	}
}

// TestProviders: with each provider's imitation a message is relayed and its id is read, another follows on
// the same connection, and the null sender and a sender that is not verified get the provider's answer.
func TestProviders(t *testing.T) {
	for name, id := range upstreamIDs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newProvider(t, name)
			out := send(t, v.pool(t, nil), from("a@a.test", "b@b.test"), from("", "b@b.test"),
				from("unverified@a.test", "b@b.test"), from("a@a.test", "c@b.test", "d@b.test"))
			first := attempts(t, out[0])[0]
			if !first.Accepted() || !regexp.MustCompile(`^`+id+`$`).MatchString(first.UpstreamID) {
				t.Errorf("answered %q, read the id %q", first.Reply.Raw, first.UpstreamID)
			}
			refusedAs(t, out[1], v.i.NullSender)
			refusedAs(t, out[2], v.i.Unverified)
			for _, a := range attempts(t, out[3]) {
				if !a.Accepted() {
					t.Errorf("the last message: %+v", a)
				}
			}
			if n := v.s.Stats().Sessions; n != 1 {
				t.Errorf("%d connections for four messages", n)
			}
		})
	}
}

// refusedAs compares an outcome with a refusal of the provider, if it refuses.
func refusedAs(t *testing.T, o outcome, r imitation.Refusal) {
	t.Helper()
	a := attempts(t, o)[0]
	if r.At == "" {
		if !a.Accepted() {
			t.Errorf("%q was refused: %+v", o.t.From, a)
		}
		return
	}
	stages := map[string]diagnose.Stage{
		"mail": diagnose.StageMail, "rcpt": diagnose.StageRcpt, "end_of_data": diagnose.StageEndOfData,
	}
	if a.Accepted() || a.Stage != stages[r.At] || a.Reply.Raw[:3] != r.Reply[:3] {
		t.Errorf("%q was answered at %s: %q", o.t.From, a.Stage, a.Reply.Raw)
	}
}

// TestProviderRefusesLogin: a wrong password gets the provider's own words, as a fault of the connection.
func TestProviderRefusesLogin(t *testing.T) {
	for name := range upstreamIDs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newProvider(t, name)
			p := newPool(t, v.s.Addr(), func(o *Options) { v.options(o, "wrong") })
			out := send(t, p, from("a@a.test", "b@b.test"))
			fault := out[0].r.Fault
			if fault == nil || fault.Stage != diagnose.StageAuth {
				t.Fatalf("%+v", out[0].r)
			}
			words, _, _ := strings.Cut(v.i.AuthFailed, "{")
			words = strings.ReplaceAll(words, "\n", "\r\n")
			if !strings.HasPrefix(fault.Reply.Raw, words) {
				t.Errorf("answered %q, want %q", fault.Reply.Raw, words)
			}
		})
	}
}
