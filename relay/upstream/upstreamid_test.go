package upstream

import (
	"testing"

	"mailwhy/diagnose"
)

func TestUpstreamID(t *testing.T) {
	for raw, want := range map[string]string{
		"250 2.0.0 Ok: queued as 4XyZ12abcD\r\n": "4XyZ12abcD",
		"250 Ok: queued as <a-b_c>\r\n":          "a-b_c",
		"250 Ok 0100018f2c-0a1b-000000\r\n":      "0100018f2c-0a1b-000000",
		"250 2.6.0 <x@y.test> [InternalId=123, Hostname=H.test] 1 bytes in 0.1, 2 KB/sec Queued mail for " +
			"delivery\r\n": "x@y.test",
		"250 2.0.0 OK  1700000000 a1-2002ab.234 - gsmtp\r\n":                          "a1-2002ab.234",
		"250 OK id=1tABCD-000001-AB\r\n":                                              "1tABCD-000001-AB",
		"250 2.0.0 47ABCD12 Message accepted for delivery\r\n":                        "47ABCD12",
		"250 Message Queued (1F2E-3D)\r\n":                                            "1F2E-3D",
		"250 ok 1700000000 qp 12345\r\n":                                              "1700000000 qp 12345",
		"250-2.0.0 one\r\n250 2.0.0 Ok: queued as B\r\n":                              "B",
		"250 2.0.0 OK <ABC12.PROD.OUTLOOK.COM> [Hostname=H.prod.outlook.com]\r\n":     "ABC12.PROD.OUTLOOK.COM",
		"250 2.0.0 OK <a@b.test> [Hostname=AB.prod.outlook.com]\r\n":                  "a@b.test",
		"250 49a3999c-0ce1-4ea6-ab68-afcd6dc2e794\r\n":                                "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794",
		"250 2.0.0 OK 95/6F-52741-ABCD0D16\r\n":                                       "95/6F-52741-ABCD0D16",
		"250 2.0.0 OK: queued as <202611281200.1@b.test>\r\n":                         "202611281200.1@b.test",
		"250 2.0.0 Ok: queued on smtp3m.mail.yandex.net as 1430081058-6ltgNFKSir\r\n": "1430081058-6ltgNFKSir",
		"250 Requested mail action okay, completed: id=0Mfa1b-1nAb2C3d4E\r\n":         "0Mfa1b-1nAb2C3d4E",
		"250 OK id=1kYBZ7-4XgC0W-UX\r\n":                                              "1kYBZ7-4XgC0W-UX",
		"250 Mail OK queued as gzga-smtp-mta-g3-0,_____wD3 1700000000\r\n":            "gzga-smtp-mta-g3-0,_____wD3",
		"250 OK: queued as.\r\n":                                                      "",
		"250 Message received\r\n":                                                    "",
		"250 Accepted\r\n":                                                            "",
		"250 Great success\r\n":                                                       "",
		"250 OK\r\n":                                                                  "",
		"250\r\n":                                                                     "",
		"250 queued as \r\n":                                                          "",
	} {
		if got := upstreamID(diagnose.ParseReply(raw).Text); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}
