package upstream

import (
	"testing"

	"mailwhy/diagnose"
)

func TestUpstreamID(t *testing.T) {
	for _, tt := range []struct{ reply, want string }{
		{"250 2.0.0 Ok: queued as 4XyZ12abcD", "4XyZ12abcD"},
		{"250 Ok: queued as <a-b_c>", "a-b_c"},
		{"250 Ok 0100018f2c-0a1b-000000", "0100018f2c-0a1b-000000"},
		{
			"250 2.6.0 <x@y.test> [InternalId=123, Hostname=H.test] Queued mail for delivery",
			"x@y.test",
		},
		{"250 2.0.0 OK  1700000000 a1-2002ab.234 - gsmtp", "a1-2002ab.234"},
		{"250 OK id=1tABCD-000001-AB", "1tABCD-000001-AB"},
		{"250 2.0.0 47ABCD12 Message accepted for delivery", "47ABCD12"},
		{"250 Message Queued (1F2E-3D)", "1F2E-3D"},
		{"250 ok 1700000000 qp 12345", "1700000000 qp 12345"},
		{"250-2.0.0 one\r\n250 2.0.0 Ok: queued as B", "B"},
		{"250 2.0.0 OK <ABC12.PROD.OUTLOOK.COM> [Hostname=H.prod.outlook.com]", "ABC12.PROD.OUTLOOK.COM"},
		{"250 2.0.0 OK <a@b.test> [Hostname=AB.prod.outlook.com]", "a@b.test"},
		{"250 49a3999c-0ce1-4ea6-ab68-afcd6dc2e794", "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"},
		{"250 2.0.0 OK 95/6F-52741-ABCD0D16", "95/6F-52741-ABCD0D16"},
		{"250 2.0.0 OK: queued as <202611281200.1@b.test>", "202611281200.1@b.test"},
		{
			"250 2.0.0 Ok: queued on smtp3m.mail.yandex.net as 1430081058-6ltgNFKSir",
			"1430081058-6ltgNFKSir",
		},
		{"250 Requested mail action okay, completed: id=0Mfa1b-1nAb2C3d4E", "0Mfa1b-1nAb2C3d4E"},
		{"250 OK id=1kYBZ7-4XgC0W-UX", "1kYBZ7-4XgC0W-UX"},
		{"250 Mail OK queued as gzga-smtp-mta-g3-0,_____wD3 1700000000", "gzga-smtp-mta-g3-0,_____wD3"},
		{"250 OK: queued as.", ""},
		{"250 Message received", ""},
		{"250 Accepted", ""},
		{"250 Great success", ""},
		{"250 OK", ""},
		{"250", ""},
		{"250 queued as ", ""},
	} {
		if got := upstreamID(diagnose.ParseReply(tt.reply + "\r\n").Text); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.reply, got, tt.want)
		}
	}
}
