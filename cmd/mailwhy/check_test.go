package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/check"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/dnstest"
)

const checkConfig = `
[upstream.google]
host = "smtp.gmail.com"
domains = ["shop.example", ".shop.example"]

[upstream.mailjet]
host = "in-v3.mailjet.com"

[[route]]
senders = ["@news.example"]
upstreams = ["mailjet"]

[[route]]
upstreams = ["google"]
`

// runCheck runs check with the configuration above.
func runCheck(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(file, []byte(checkConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status = run(append([]string{"check", "-c", file}, args...), nil, &out, &errs)
	return status, out.String(), errs.String()
}

func TestCheckDNS(t *testing.T) {
	server := dnstest.Start(t, `
		_spf.google.com TXT "v=spf1 ip4:192.0.2.0/24 ~all"
		shop.example TXT "v=spf1 include:_spf.google.com ~all"
		_dmarc.shop.example TXT "v=DMARC1; p=reject"`)
	status, out, errs := runCheck(t, "--dns", "--resolver", server.Addr)
	if status != exitFailure {
		t.Errorf("status %d: %s", status, errs)
	}
	for _, want := range []string{
		"\nshop.example through google\n",
		"  warning  outcome      by SPF only: mail passes DMARC by SPF",
		"\nnews.example through mailjet\n",
		"  failure  dkim         mailjet._domainkey.news.example is missing: nobody can verify a signature\n",
		"    mailjet._domainkey.news.example  TXT  v=DKIM1; k=rsa; p=<shown by Mailjet>\n",
		"  failure  outcome      fails: mail fails DMARC",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(out, "news.example through google") || strings.Contains(out,
		"shop.example through mailjet") {
		t.Error("a pair that no route allows was checked")
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestCheckDNSAsJSON(t *testing.T) {
	server := dnstest.Start(t, `
		_spf.google.com TXT "v=spf1 ip4:192.0.2.0/24 ~all"
		sub.shop.example TXT "v=spf1 include:_spf.google.com ~all"
		_dmarc.shop.example TXT "v=DMARC1; p=reject"
		s7._domainkey.sub.shop.example TXT "v=DKIM1; k=ed25519; p=`+
		strings.Repeat("A", 43)+`="`)
	status, out, errs := runCheck(t, "--dns", "--resolver", server.Addr, "--json", "--from",
		"app@sub.shop.example",
		"--only", "google", "--dkim-selector", "google=s7")
	outcomes := map[string]check.Outcome{}
	for line := range strings.Lines(out) {
		var l check.Line
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if l.Outcome != "" {
			outcomes[l.Domain+" "+l.Upstream] = l.Outcome
		}
	}
	if status != exitFailure || outcomes["sub.shop.example google"] != check.ByDKIM ||
		outcomes["shop.example google"] != check.Fails || len(outcomes) != 2 {
		t.Errorf("status %d, %v\n%s%s", status, outcomes, out, errs)
	}
}

func TestCheckDNSPasses(t *testing.T) {
	server := dnstest.Start(t, `
		_spf.google.com TXT "v=spf1 ip4:192.0.2.0/24 ~all"
		other.example TXT "v=spf1 redirect=_spf.google.com"`)
	status, out, errs := checkWith(t, "--upstream", "smtp://smtp.gmail.com", "--dns", "--resolver",
		server.Addr,
		"--from", "other.example")
	if status != 0 || !strings.Contains(out, "by SPF only") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

// checkWith runs check without a file.
func checkWith(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(append([]string{"check"}, args...), nil, &out, &errs)
	return status, out.String(), errs.String()
}

func TestCheckConnect(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if c.Address == "b@there.example" {
			return smtptest.Action{Reply: "550 5.1.1 no such user here"}
		}
		return smtptest.Action{}
	}})
	args := []string{"--upstream", s.URL(), "--connect", "--from", "app@shop.example", "--to"}
	status, out, errs := checkWith(t, append(args, "a@there.example", "--send")...)
	if status != 0 || !strings.HasPrefix(out, "upstream default\n  ok       connect") ||
		!strings.Contains(out, "  ok       send         a message from app@shop.example to a@there.example") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	messages := s.Messages()
	if len(messages) != 1 || messages[0].From != "app@shop.example" ||
		!strings.Contains(string(messages[0].Content), "Subject: Test of mailwhy check") {
		t.Errorf("sent: %+v", messages)
	}
	status, out, errs = checkWith(t, append(args, "b@there.example")...)
	if status != exitFailure || !strings.Contains(out, "is refused: 550 5.1.1 no such user here") ||
		len(s.Messages()) != 1 {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

// TestCheckConnectAddresses: refused by our address, it prints the addresses to allow and their names.
func TestCheckConnectAddresses(t *testing.T) {
	dns := dnstest.Start(t, "7.113.0.203.in-addr.arpa PTR host7.isp.example.\n")
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		switch c.Stage {
		case diagnose.StageHello:
			return smtptest.Action{Reply: "250 mx.provider.example Hello [203.0.113.7]"}
		case diagnose.StageRcpt:
			return smtptest.Action{Reply: "550 5.7.1 Relaying denied"}
		}
		return smtptest.Action{}
	}})
	status, out, errs := checkWith(t, "--upstream", s.URL(), "--hostname", "relay.shop.example", "--connect",
		"--from", "app@shop.example", "--to", "a@there.example", "--resolver", dns.Addr)
	for _, want := range []string{
		"  ok       source       connections come from 127.0.0.1, and the server sees 203.0.113.7\n",
		"  warning  source       connections come from 127.0.0.1, and the server sees 203.0.113.7\n",
		"fix: If the provider keeps a list of addresses, allow 203.0.113.7 there.\n",
		"  warning  ptr          203.0.113.7 is host7.isp.example, but hello is relay.shop.example\n",
	} {
		if status != exitFailure || !strings.Contains(out, want) {
			t.Errorf("status %d, %q is missing\n%s%s", status, want, out, errs)
		}
	}
}

func TestCheckFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--json"}, "need --dns or --connect"},
		{[]string{"--resolver", "192.0.2.1"}, "need --dns or --connect"},
		{[]string{"--connect", "--dkim-selector", "google=s7"}, "need --dns"},
		{[]string{"--dns", "--to", "a@b.example"}, "need --connect"},
		{[]string{"--connect", "--send"}, "--send needs --to"},
		{[]string{"--dns", "--only", "nobody"}, `there is no upstream "nobody"`},
		{[]string{"--dns", "--dkim-selector", "nobody=s1"}, `there is no upstream "nobody"`},
		{[]string{"--dns", "--return-path", "nobody=a.example"}, `there is no upstream "nobody"`},
	} {
		status, out, errs := runCheck(t, tc.args...)
		if status != exitUsage || !strings.Contains(errs, tc.want) || out != "" {
			t.Errorf("%v: status %d\n%s%s", tc.args, status, out, errs)
		}
	}
}
