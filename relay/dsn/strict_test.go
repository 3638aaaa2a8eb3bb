package dsn

import (
	"fmt"
	"strings"
	"testing"

	"mailwhy/relay"
)

// complaints takes the place of a test: what the strict reader has to say about a report is counted, not
// reported.
type complaints struct {
	testing.TB
	all []string
}

// enough ends a reading that can go on no longer.
type enough struct{}

func (c *complaints) Helper()                      {}
func (c *complaints) Error(args ...any)            { c.all = append(c.all, fmt.Sprint(args...)) }
func (c *complaints) Fatal(args ...any)            { c.Error(args...); panic(enough{}) }
func (c *complaints) Errorf(f string, args ...any) { c.all = append(c.all, fmt.Sprintf(f, args...)) }
func (c *complaints) Fatalf(f string, args ...any) { c.Errorf(f, args...); panic(enough{}) }

// complain is what the strict reader says about content.
func complain(r *relay.Report, content string) []string {
	c := &complaints{}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (enough{}) {
				panic(p)
			}
		}()
		readDSN(c, r, "relay.example.com", []byte(content))
	}()
	return c.all
}

// TestReaderIsStrict holds that the strict reader would find a fault: each of these breaks one rule of the
// RFCs, and nothing else.
func TestReaderIsStrict(t *testing.T) {
	cases := golden()
	for _, tt := range []struct{ rule, golden, from, to string }{
		// RFC 5322 and the outer header
		{"RFC 5322, 2.3: no bare LF", "failed", "Action: failed\r\n", "Action: failed\n"},
		{"RFC 5322, 2.1.1: 998 bytes", "failed", "X-Mailwhy-Rule: sample",
			"X-Mailwhy-Rule: " + strings.Repeat("s", 999)},
		{"RFC 3464, 2: To is the sender", "failed", "\r\nTo: <shop@example.com>\r\nSubject: N",
			"\r\nTo: <jane@example.net>\r\nSubject: N"},
		{"RFC 3464, 2: From is an address", "failed", "<postmaster@relay.example.com>", "<postmaster>"},
		{"RFC 3834, 5.2: not auto-generated", "failed", "auto-replied", "auto-generated"},
		{"RFC 3834, 5.2: Auto-Submitted", "failed", "Auto-Submitted: auto-replied\r\n", ""},
		{"RFC 2045, 4: MIME-Version", "failed", "MIME-Version: 1.0\r\n", ""},
		{"RFC 5322, 3.6.1: Date", "failed", "Date: Mon, 23 Nov 2026 10:00:06 +0100\r\n", ""},
		{"RFC 5322, 3.6.4: Message-ID", "failed", "Message-ID: <01J9", "Message-ID: 01J9"},
		{"RFC 5322, 3.6.4: References", "failed", "References: <1042@", "References: <1043@"},
		{"RFC 5322, 3.6.4: References is there", "failed", "References: <1042@shop.example.com>\r\n", ""},
		{"RFC 5322, 3.6.4: In-Reply-To", "failed", "In-Reply-To: <1042@", "In-Reply-To: <1043@"},
		{"a subject", "failed", "Subject: Not delivered: jane@example.net (Invalid Address)\r\n", ""},
		{"a header that nobody wrote", "failed", "MIME-Version: 1.0\r\n",
			"MIME-Version: 1.0\r\nBcc: x@example.com\r\n"},
		// RFC 6522
		{"RFC 6522, 3: report-type", "failed", " report-type=delivery-status;", ""},
		{"RFC 6522, 3: multipart/report", "failed", "multipart/report", "multipart/mixed"},
		{"RFC 2046, 5.1.1: the boundary is quoted", "failed", `boundary="=_01J9ZQ5A1B2C3D4E5F6G7H8J_1"`,
			`boundary==_01J9ZQ5A1B2C3D4E5F6G7H8J_1`},
		{"RFC 2046, 5.1.1: the boundary is in no part", "ret-full-8bit", "\r\nGr",
			"\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_2\r\nGr"},
		{"RFC 2046, 5.1.1: the closing delimiter", "failed", "\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1--", ""},
		{"RFC 6522, 3: no fourth part", "failed", "\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1--",
			"\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1\r\nContent-Type: text/plain\r\n\r\nx\r\n" +
				"--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1--"},
		{"RFC 2045, 6.4: 8bit on the whole", "utf8",
			"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1",
			"\r\n\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1"},
		{"RFC 2046, 5.1.4: text before HTML", "failed", "text/plain;", "text/html;"},
		{"the known first line", "failed", "This is the mail system at host relay.example.com.\r\n\r\n",
			"This is the mail host relay.example.com.\r\n\r\n"},
		{"nothing is loaded", "failed", "<title>", "<img src=x><title>"},
		// RFC 3464, 2.1 and 2.2
		{"RFC 3464, 2: part 2 is 7bit", "failed",
			"message/delivery-status\r\nContent-Transfer-Encoding: 7bit",
			"message/delivery-status\r\nContent-Transfer-Encoding: 8bit"},
		{"RFC 3464, 2.1.1: a blank line between blocks", "failed-multi", "\r\n\r\nOriginal-Recipient: x400",
			"\r\nOriginal-Recipient: x400"},
		{"RFC 3464, 2.1.1: a block with nothing in it", "failed", "\r\n\r\nFinal-Recipient:",
			"\r\n\r\n\r\nFinal-Recipient:"},
		{"RFC 3464, 2.2.1: Original-Envelope-Id as given", "failed-multi", "Id: Order+1042 = big",
			"Id: order+1042 = big"},
		{"RFC 3464, 2.2.1: Original-Envelope-Id if given", "failed-multi",
			"Original-Envelope-Id: Order+1042 = big\r\n", ""},
		{"RFC 3464, 2.2.1: Original-Envelope-Id only if given", "failed", "Reporting-MTA:",
			"Original-Envelope-Id: 1\r\nReporting-MTA:"},
		{"RFC 3464, 2.2.2: Reporting-MTA", "failed", "Reporting-MTA: dns; relay.example.com\r\n", ""},
		{"RFC 3464, 2.2.2: its name", "failed", "Reporting-MTA: dns; relay", "Reporting-MTA: dns; other"},
		{"RFC 3464, 2.2.3: no DSN-Gateway", "failed", "Received-From-MTA:",
			"DSN-Gateway: dns; relay.example.com\r\nReceived-From-MTA:"},
		{"RFC 3464, 2.2.4: Received-From-MTA's type", "failed", "x-local-hostname; shop", "dns; shop"},
		{"RFC 3464, 2.2.5: Arrival-Date", "failed", "Arrival-Date: Mon, 23 Nov 2026 10:00:01 +0100",
			"Arrival-Date: Mon, 23 Nov 2026 10:00:02 +0100"},
		{"RFC 3464, 2.2.5: a numeric zone", "failed", "Arrival-Date: Mon, 23 Nov 2026 10:00:01 +0100",
			"Arrival-Date: Mon, 23 Nov 2026 09:00:01 GMT"},
		{"RFC 3464, 2.2: the order", "failed",
			"Received-From-MTA: x-local-hostname; shop ([192.0.2.10])\r\n" +
				"Arrival-Date: Mon, 23 Nov 2026 10:00:01 +0100",
			"Arrival-Date: Mon, 23 Nov 2026 10:00:01 +0100\r\n" +
				"Received-From-MTA: x-local-hostname; shop ([192.0.2.10])"},
		// RFC 3464, 2.3
		{"RFC 3464, 2.3.1: Original-Recipient decoded", "failed-multi", "rfc822; Jane+Doe@",
			"rfc822; Jane+2BDoe@"},
		{"RFC 3464, 2.3.1: Original-Recipient if given", "failed-multi",
			"Original-Recipient: x400; /c=us/\r\n", ""},
		{"RFC 3464, 2.3.1: Original-Recipient only if given", "failed", "Final-Recipient:",
			"Original-Recipient: rfc822; jane@example.net\r\nFinal-Recipient:"},
		{"RFC 3464, 2.3: Original-Recipient comes first", "failed-multi",
			"Original-Recipient: x400; /c=us/\r\nFinal-Recipient: rfc822; Raj.Mixed-Case@Example.ORG\r\n",
			"Final-Recipient: rfc822; Raj.Mixed-Case@Example.ORG\r\nOriginal-Recipient: x400; /c=us/\r\n"},
		{"RFC 3464, 2.3.2: the case of the address", "failed-multi", "rfc822; Raj.Mixed-Case@Example.ORG",
			"rfc822; raj.mixed-case@example.org"},
		{"RFC 6533, 3: the type of a UTF-8 address", "utf8", "Final-Recipient: utf-8;",
			"Final-Recipient: rfc822;"},
		{"RFC 3464, 2.3.3: Action", "failed", "Action: failed\r\n", ""},
		{"RFC 3464, 2.3.3: an Action that is true", "delayed", "Action: delayed", "Action: failed"},
		{"RFC 3464, 2.3.3: relayed, not delivered", "relayed", "Action: relayed", "Action: delivered"},
		{"RFC 3464, 2.3.4: Status", "failed", "Status: 5.1.1\r\n", ""},
		{"RFC 3464, 2.3.4: no leading zero", "failed", "Status: 5.1.1", "Status: 5.1.01"},
		{"RFC 3464, 2.3.4: as the upstream gave it", "failed", "Status: 5.1.1", "Status: 5.0.0"},
		{"RFC 3464, 2.3.5: Remote-MTA", "failed", "Remote-MTA: dns; mx.example.net\r\n", ""},
		{"RFC 3464, 2.3.5: its name", "failed", "Remote-MTA: dns; mx", "Remote-MTA: dns; my"},
		{"RFC 3464, 2.3.5: only where a server replied", "expired", "Status: 4.4.2\r\n",
			"Status: 4.4.2\r\nRemote-MTA: dns; mx.example.net\r\n"},
		{"RFC 3464, 2.3.6: Diagnostic-Code's type", "failed", "Diagnostic-Code: smtp;",
			"Diagnostic-Code: x-mailwhy;"},
		{"RFC 3464, 2.3.6: only where a server replied", "expired", "Status: 4.4.2\r\n",
			"Status: 4.4.2\r\nDiagnostic-Code: smtp; 451 4.4.2 timeout\r\n"},
		{"RFC 3461, 6.3 (i): the reply word for word", "failed", " 550 5.1.1 Please check the",
			" 550 5.1.1 please check the"},
		{"RFC 3461, 9.2: codes and hyphens are kept", "failed", " smtp; 550-5.1.1", " smtp; 550 5.1.1"},
		{"RFC 3461, 9.2: a line of its own", "failed", " does not exist.\r\n 550 5.1.1",
			" does not exist. 550 5.1.1"},
		{"RFC 3464, 2.3.7: Last-Attempt-Date", "failed", "Last-Attempt-Date: Mon, 23 Nov 2026 10:00:03",
			"Last-Attempt-Date: Mon, 23 Nov 2026 10:00:04"},
		{"RFC 3464, 2.3.8: Final-Log-ID", "failed", "Final-Log-ID: 01J9", "Final-Log-ID: 02J9"},
		{"RFC 3464, 2.3.9: Will-Retry-Until where delayed", "delayed",
			"Will-Retry-Until: Sat, 28 Nov 2026 10:00:01 +0100\r\n", ""},
		{"RFC 3464, 2.3.9: when", "delayed", "Will-Retry-Until: Sat, 28", "Will-Retry-Until: Fri, 27"},
		{"RFC 3464, 2.3.9: and nowhere else", "failed", "X-Mailwhy-Category:",
			"Will-Retry-Until: Sat, 28 Nov 2026 10:00:01 +0100\r\nX-Mailwhy-Category:"},
		{"RFC 3464, 2.3: no field twice", "failed", "Action: failed\r\n",
			"Action: failed\r\nAction: failed\r\n"},
		{"RFC 3464, 2.4: no unregistered field", "failed", "X-Mailwhy-Rule:", "Mailwhy-Rule:"},
		{"RFC 3464, 2.4: extensions come last", "failed",
			"Final-Log-ID: 01J9ZQ4T5W6X7Y8Z9A0BCDEF\r\nX-Mailwhy-Category: Invalid Address\r\n",
			"X-Mailwhy-Category: Invalid Address\r\nFinal-Log-ID: 01J9ZQ4T5W6X7Y8Z9A0BCDEF\r\n"},
		{"the diagnosis", "failed", "X-Mailwhy-Reason: user_unknown\r\n", ""},
		{"no diagnosis of a success", "relayed", "Final-Log-ID:",
			"X-Mailwhy-Category: Blocked\r\nFinal-Log-ID:"},
		{"RFC 5322, 2.1.1: folding at 78", "failed", " Ask the recipient\r\n for the right",
			" Ask the recipient for the right"},
		{"RFC 3461, 5.2.8: a recipient who was not due", "failed-multi", "\r\n\r\nOriginal-Recipient: x400",
			"\r\n\r\nFinal-Recipient: rfc822; x@example.net\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n" +
				"Original-Recipient: x400"},
		// What another system told later
		{"RFC 3464, 2.2.2: Reporting-MTA is who told", "told", "Reporting-MTA: dns; smtp.provider.example",
			"Reporting-MTA: dns; relay.example.com"},
		{"RFC 3464, 2.2.3: DSN-Gateway", "told", "DSN-Gateway: dns; relay.example.com\r\n", ""},
		{"RFC 3464, 2.2.3: its name", "told", "DSN-Gateway: dns; relay", "DSN-Gateway: dns; other"},
		{"RFC 3464, 2.2.3: the order", "told",
			"Reporting-MTA: dns; smtp.provider.example\r\nDSN-Gateway: dns; relay.example.com",
			"DSN-Gateway: dns; relay.example.com\r\nReporting-MTA: dns; smtp.provider.example"},
		{"RFC 3464, 2.2.4: the message came from us", "told", "Received-From-MTA: dns; relay.example.com",
			"Received-From-MTA: x-local-hostname; shop ([192.0.2.10])"},
		{"RFC 3464, 2.2.5: when it came there", "told", "Arrival-Date: Mon, 23 Nov 2026 10:00:02 +0100",
			"Arrival-Date: Mon, 23 Nov 2026 10:00:01 +0100"},
		{"RFC 3464, 2.3.4: as told", "told-words", "Status: 5.1.1", "Status: 5.0.0"},
		{"RFC 3464, 2.3.5: as told", "told", "Remote-MTA: dns; mx.example.net\r\n", ""},
		{"RFC 3464, 2.3.5: only if told", "told-words", "Diagnostic-Code:",
			"Remote-MTA: dns; smtp.provider.example\r\nDiagnostic-Code:"},
		{"RFC 3464, 2.3.6: words are no reply", "told-words", "x-mailwhy-told;", "smtp;"},
		{"RFC 3464, 2.3.7: the upstream's last attempt", "told",
			"Last-Attempt-Date: Mon, 23 Nov 2026 10:00:03", "Last-Attempt-Date: Mon, 23 Nov 2026 10:00:06"},
		{"RFC 3464, 2.3.8: an id of the Reporting-MTA", "told", "Final-Log-ID: 0102abc",
			"Final-Log-ID: 01J9ZQ4T5W6X7Y8Z9A0BCDEF"},
		// What is returned
		{"RFC 3461, 6.2: RET=HDRS", "ret-hdrs", "text/rfc822-headers", "message/rfc822"},
		{"RFC 3461, 6.2: headers of a delay", "delayed", "text/rfc822-headers", "message/rfc822"},
		{"RFC 3461, 6.2: the whole of a failure", "failed", "message/rfc822", "text/rfc822-headers"},
		{"RFC 6522, 4: headers alone", "ret-hdrs", "09:00:00 +0000\r\n",
			"09:00:00 +0000\r\n\r\nThank you\r\n"},
		{"what is returned is what was sent", "failed", "Thank you for your order",
			"Thank you for the order"},
		{"the header is returned whole", "ret-hdrs",
			"To: jane@example.net, raj@example.org\r\nSubject: Your order 1042\r\nM",
			"Subject: Your order 1042\r\nM"},
		{"RFC 2046, 5.2.1: message/rfc822 is not encoded", "failed",
			"message/rfc822\r\nContent-Transfer-Encoding: 7bit",
			"message/rfc822\r\nContent-Transfer-Encoding: quoted-printable"},
		{"RFC 6533, 4: the type of a message with SMTPUTF8", "utf8", "message/global\r\n",
			"message/rfc822\r\n"},
		{"RFC 6533, 5: no 8-bit where the way does not take it", "utf8-7bit",
			"Gr=C3=BC=C3=9Fe\r\n\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1--",
			"Gr\xc3\xbc\r\n\r\n--=_01J9ZQ5A1B2C3D4E5F6G7H8J_1--"},
		{"RFC 6533, 3: part 2 with UTF-8", "utf8", "message/global-delivery-status",
			"message/delivery-status"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			d, err := composer(t, nil).Compose(cases[tt.golden])
			if err != nil {
				t.Fatal(err)
			}
			content := string(d.Content)
			if said := complain(cases[tt.golden], content); said != nil {
				t.Fatalf("without the fault: %q", said)
			}
			// The last occurrence: what stands in the delivery status stands in the words for the person,
			// too.
			i := strings.LastIndex(content, tt.from)
			if i < 0 {
				t.Fatalf("%q is not in %s", tt.from, tt.golden)
			}
			if said := complain(cases[tt.golden], content[:i]+tt.to+content[i+len(tt.from):]); said == nil {
				t.Error("the fault is not found")
			}
		})
	}
}
