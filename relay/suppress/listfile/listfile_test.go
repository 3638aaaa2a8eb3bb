package listfile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// lines are the lines of a list, one a line.
func lines(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	err := Read(strings.NewReader(text), func(l Line) error {
		fmt.Fprintf(&b, "%d %s", l.Number, l.Address)
		for _, s := range []string{l.Reason, l.Error, l.Scope, l.Note} {
			if s != "" {
				fmt.Fprintf(&b, " | %s", s)
			}
		}
		if !l.Time.IsZero() {
			fmt.Fprintf(&b, " | %s", l.Time.UTC().Format(time.RFC3339))
		}
		b.WriteByte('\n')
		return nil
	}, func(n int, err error) { fmt.Fprintf(&b, "%d: %v\n", n, err) })
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct{ list, want string }{
		"an address a line": {"# old list\n\njane@x.test\r\n\"a b\"@x.test\n  bob@x.test  \n",
			"3 jane@x.test\n4 \"a b\"@x.test\n5 bob@x.test\n"},
		"SES, for its import": {"jane@x.test,BOUNCE\nbob@x.test,COMPLAINT\n",
			"1 jane@x.test\n2 bob@x.test | spam_complaint\n"},
		"SES, as exported": {"EmailAddress,Reason,LastUpdateTime\n" +
			"jane@x.test,BOUNCE,2026-11-20T10:00:00.123Z\n\"bob@x.test\",COMPLAINT,2026-11-21T10:00:00Z\n",
			"2 jane@x.test | 2026-11-20T10:00:00Z\n3 bob@x.test | spam_complaint | 2026-11-21T10:00:00Z\n"},
		"Mailgun": {"address,code,error,created_at\n" +
			"jane@x.test,550,\"No such user, sorry\",\"Fri, 20 Nov 2026 10:00:00 +0000\"\n" +
			"bob@x.test,,,\n", "2 jane@x.test | 550 No such user, sorry | 2026-11-20T10:00:00Z\n" +
			"3 bob@x.test\n"},
		"SendGrid": {"status,reason,email,created\n" +
			"5.1.1,550 5.1.1 The email account does not exist,jane@x.test,1763632800\n",
			"2 jane@x.test | 550 5.1.1 The email account does not exist | 2025-11-20T10:00:00Z\n"},
		"Postmark": {"EmailAddress,SuppressionReason,Origin,CreatedAt\n" +
			"jane@x.test,HardBounce,Recipient,2026-11-20T10:00:00-05:00\n" +
			"bob@x.test,SpamComplaint,Recipient,2026-11-20T10:00:00-05:00\n" +
			"eve@x.test,ManualSuppression,Customer,2026-11-20T10:00:00-05:00\n",
			"2 jane@x.test | 2026-11-20T15:00:00Z\n3 bob@x.test | spam_complaint | 2026-11-20T15:00:00Z\n" +
				"4 eve@x.test | manual | 2026-11-20T15:00:00Z\n"},
		"a mark of UTF-8, semicolons, and lines in a cell": {
			"\xef\xbb\xbfEmail;Error\r\njane@x.test;\"550 no\nsuch user\"\r\nbob@x.test;550 no\r\n",
			"2 jane@x.test | 550 no\nsuch user\n4 bob@x.test | 550 no\n"},
		"mistakes": {"address,created_at\n,2026-11-20\njane@x.test,yesterday\nbob@x.test,2026-11-20\n",
			"2: no address\n3: not a time: \"yesterday\"\n4 bob@x.test | 2026-11-20T00:00:00Z\n"},
		"nothing":        {"", ""},
		"only a comment": {"# nobody\n", ""},
		"no line end":    {"jane@x.test", "1 jane@x.test\n"},
	} {
		if got := lines(t, c.list); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

// TestWritten: what is written is read again.
func TestWritten(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	entries := []relay.Suppression{
		{Address: `"a, \"b"@x.test`, Scope: "*", Reason: "user_unknown", FirstSeen: at,
			Reply: "550-5.1.1 no\r\n550 5.1.1 \"user\", sorry\r\n", Expires: at.Add(time.Hour)},
		{Address: "bob@x.test", Scope: "shop.test", Reason: diagnose.ReasonSpamComplaint, FirstSeen: at},
		{Address: "eve@x.test", Scope: "*", Reason: "manual", FirstSeen: at, Note: "left,\nreally"},
	}
	var b strings.Builder
	w, err := NewWriter(&b)
	for i := 0; err == nil && i < len(entries); i++ {
		err = w.Write(&entries[i])
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	err = Read(strings.NewReader(b.String()), func(l Line) error {
		s := entries[i]
		i++
		if l.Address != s.Address || l.Scope != s.Scope || l.Reason != string(s.Reason) ||
			!l.Time.Equal(at) || !l.Expires.Equal(s.Expires) || l.Note != s.Note {
			t.Errorf("read %+v, written %+v", l, s)
		}
		return nil
	}, func(n int, err error) { t.Errorf("line %d: %v", n, err) })
	if err != nil || i != len(entries) {
		t.Errorf("read %d entries, %v", i, err)
	}
}

// FuzzRead: no list makes the reader fail or read more than it has.
func FuzzRead(f *testing.F) {
	f.Add("address,code\n\"a\",\"\n")
	f.Add("a@b.test,BOUNCE\n")
	f.Add("email;reason\n\"\"\"@x;\n\x00\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		Read(strings.NewReader(text), func(Line) error { n++; return nil }, func(int, error) {})
		if n > strings.Count(text, "\n")+1 {
			t.Errorf("%d lines in %q", n, text)
		}
	})
}
