package session

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/check"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/upstream"
)

// mailbox is the user that logs in.
const mailbox = "box@contoso.test"

// refusing checks a server that answers at a stage as it is told.
func refusing(t *testing.T, stage diagnose.Stage, reply string, change func(*Options)) []check.Line {
	t.Helper()
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := smtptest.New(t, smtptest.Options{Users: map[string]string{mailbox: "secret"},
		Without: []string{"SIZE"}, Script: func(c smtptest.Command) smtptest.Action {
			if c.Stage == diagnose.StageHello {
				return smtptest.Action{Reply: "250-mx.test Hello [203.0.113.7]\r\n250 AUTH PLAIN"}
			}
			if c.Stage == stage {
				return smtptest.Action{Reply: reply}
			}
			return smtptest.Action{}
		}})
	o := options(t, server.Port(), upstream.TLS{}, func(o *upstream.Options) {
		o.AllowPlaintextAuth = true
		o.Auth = &upstream.Credentials{Username: mailbox, Mechanisms: []string{"PLAIN"},
			Password: func() (string, error) { return "secret", nil }}
	})
	o.Diagnose = engine.Diagnose
	change(&o)
	return Check(t.Context(), o)
}

// line is the line of a check; it must be there once.
func line(t *testing.T, lines []check.Line, name string) check.Line {
	t.Helper()
	var found []check.Line
	for _, l := range lines {
		if l.Check == name {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d lines of the check %s in %+v", len(found), name, lines)
	}
	return found[0]
}

// TestToken: what the token says of itself, and what it makes of Exchange Online's refusals.
func TestToken(t *testing.T) {
	right := Token{Audience: "https://outlook.office365.com", Application: "app-1", Tenant: "tenant-1",
		Rights: []string{"SMTP.SendAsApp"}, Expires: time.Now().Add(time.Hour), Exchange: true}
	without := right
	without.Rights, without.Lacks = []string{"Mail.Send"}, "SMTP.SendAsApp"
	graph := right
	graph.Audience, graph.Exchange = "https://graph.microsoft.com", false
	over := right
	over.Expires = time.Now().Add(-time.Minute)
	person := right
	person.User, person.Rights = "ann@contoso.test", []string{"SMTP.Send"}
	const off = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled "
	const visit = "Visit https://aka.ms/smtp_auth_disabled for more information."
	for _, tt := range []struct {
		name, reply string
		token       *Token
		level       check.Level // of the line token; "": there is none
		text, fix   string      // of that line
		login       string      // the fix for the refused login
	}{
		{"right, and refused", "535 5.7.3 Authentication unsuccessful", &right, check.OK,
			"app-1 in the tenant tenant-1, for https://outlook.office365.com, with SMTP.SendAsApp",
			"", "New-ServicePrincipal -AppId app-1 -ObjectId OBJECT-ID"},
		{"without the role", "535 5.7.3 Authentication unsuccessful", &without, check.Failure,
			"with Mail.Send", "grant admin consent", "Mend the token first"},
		{"for another server", "535 5.7.3 Authentication unsuccessful", &graph, check.Failure,
			"which is not Exchange Online", "oauth_scope", ""},
		{"over", "535 5.7.3 Authentication unsuccessful", &over, check.Failure, "which is over", "clock", ""},
		{"of another person", "535 5.7.3 Authentication unsuccessful", &person, check.Warning,
			"for ann@contoso.test in the tenant", "Log in as " + mailbox, "must be " + mailbox},
		{"off for the tenant", off + "for the Tenant. " + visit, &right, check.OK, "", "",
			"SMTP AUTH is off for the tenant"},
		{"off for the mailbox", off + "for the Mailbox. " + visit, nil, "", "", "",
			"Set-CASMailbox -Identity " + mailbox + " -SmtpClientAuthenticationDisabled $false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := refusing(t, diagnose.StageAuth, tt.reply, func(o *Options) {
				o.Exchange, o.Token = true, func(context.Context) *Token { return tt.token }
			})
			if tt.level != "" {
				l := line(t, lines, "token")
				if l.Level != tt.level || !strings.Contains(l.Text, tt.text) ||
					!strings.Contains(l.Fix, tt.fix) {
					t.Errorf("%+v", l)
				}
			}
			l := line(t, lines, "auth")
			if l.Level != check.Failure || !strings.Contains(l.Fix, tt.login) || l.Fix == "" {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestAddresses: where the upstream refuses us by our address, the check shows the addresses to allow, and
// whether their names are those of EHLO.
func TestAddresses(t *testing.T) {
	local := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2001:db8::5")}
	names := map[string][]string{"203.0.113.7": {"client.test"}, "2001:db8::5": {"host5.isp.test"}}
	pointers := func(_ context.Context, ip netip.Addr) ([]string, error) {
		if ip.String() == "192.0.2.66" {
			return nil, errors.New("no server answers")
		}
		return names[ip.String()], nil
	}
	for _, tt := range []struct {
		name  string
		stage diagnose.Stage
		reply string
		lines []string // of the checks source and ptr
		fix   string   // of the first
	}{
		{"at AUTH, by the EHLO reply", diagnose.StageAuth, "525 5.7.1 Unauthorized IP address", []string{
			"warning connections come from 10.0.0.5 and 2001:db8::5, and the server sees 203.0.113.7",
			"ok 203.0.113.7 is client.test, as hello is",
			"warning 2001:db8::5 is host5.isp.test, but hello is"},
			"allow 203.0.113.7 and 2001:db8::5 there"},
		{"at RCPT, by the refusal", diagnose.StageRcpt, "550 5.7.1 Relaying denied [198.51.100.9]", []string{
			"warning connections come from 10.0.0.5 and 2001:db8::5, and the server sees 198.51.100.9",
			"warning 198.51.100.9 has no PTR record", "warning 2001:db8::5 is host5"}, "198.51.100.9"},
		{"at the greeting", diagnose.StageGreeting, "554 5.7.1 192.0.2.66 is not in our list", []string{
			"warning connections come from 10.0.0.5 and 2001:db8::5, and the server sees 192.0.2.66",
			"warning the name of 192.0.2.66 could not be looked up", "warning 2001:db8::5 is host5"},
			"192.0.2.66"},
		{"not by address", diagnose.StageRcpt, "550 5.1.1 User unknown", []string{
			"ok connections come from 10.0.0.5 and 2001:db8::5, and the server sees 203.0.113.7"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := refusing(t, tt.stage, tt.reply, func(o *Options) {
				o.Sources, o.Pointers = func() []netip.Addr { return local }, pointers
			})
			var found []check.Line
			for _, l := range lines {
				if l.Check == "ptr" || l.Check == "source" && (l.Level == check.Warning || tt.fix == "") {
					found = append(found, l)
				}
			}
			ok := len(found) == len(tt.lines)
			for i := 0; ok && i < len(found); i++ {
				ok = strings.HasPrefix(string(found[i].Level)+" "+found[i].Text, tt.lines[i])
			}
			if !ok || !strings.Contains(found[0].Fix, tt.fix) {
				t.Errorf("%+v\nwant %q, %q", lines, tt.lines, tt.fix)
			}
		})
	}
}
