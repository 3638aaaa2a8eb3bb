package bounce

import (
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// writing is a report in the words of one mailer, and what is to be read in it.
type writing struct {
	writer string
	file   string
	kind   Kind
	want   string // recipients, each with what is said of it, in the form of told
}

// daemon is the header of a report with the words of one mailer.
func daemon(words string) string {
	return "From: Mail Delivery System <MAILER-DAEMON@a.example>\nTo: app@shop.example\n" +
		"Subject: Returned\n\n" + words
}

// came is the header of a message that came back in a text; nothing of it may speak.
const came = "Received: from app.example by a.example with ESMTP id X1; Mon, 23 Nov 2026 10:00:00 +0000\n" +
	"Message-ID: <1@shop.example>\nFrom: app@shop.example\nTo: eve@other.example\n" +
	"Subject: 550 5.7.1 DMARC fail, virus found\n" +
	"List-Subscribe: <mailto:l-request@list.example?subject=subscribe>\n\n<mal@other.example>:\n552 full\n"

// writings are the reports in testdata/writers.txtar, which says in what form they are.
func writings(t testing.TB) []writing {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/writers.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var list []writing
	for _, f := range archive.Files {
		expected, mail, _ := strings.Cut(string(f.Data), "\n\n")
		kind, want, _ := strings.Cut(expected, "\n")
		list = append(list, writing{f.Name, strings.ReplaceAll(mail, "{returned}\n", came), Kind(kind),
			strings.ReplaceAll(want, `\n`, "\n")})
	}
	return list
}

// told is what a report says, a recipient a line: the code of a reply, or the wording.
func told(r Report) string {
	var list []string
	for _, n := range r.Notifications {
		for _, r := range n.Recipients {
			said := r.Symptom.Text
			if c := r.Symptom.Reply.Code; c != 0 {
				said = strconv.Itoa(c)
			}
			list = append(list, r.Address+" "+said)
		}
	}
	return strings.Join(list, "\n")
}

// TestWriters reads each mailer's words, with every kind of line end.
func TestWriters(t *testing.T) {
	for _, w := range writings(t) {
		for _, eol := range []string{"\n", "\r\n", "\r"} {
			r := Parse([]byte(strings.ReplaceAll(w.file, "\n", eol)))
			got := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(told(r))
			if got != w.want || r.Kind != w.kind {
				t.Errorf("%s, %q: %s %q, want %s %q", w.writer, eol, r.Kind, got, w.kind, w.want)
			}
		}
	}
}

// TestReturnedMessageSaysNothing: whatever stands in front of a message that came back, nothing of it is a
// recipient or a reason.
func TestReturnedMessageSaysNothing(t *testing.T) {
	for _, before := range append(copyBegins(), "", "anything at all", "Here it is:") {
		r := Parse([]byte(daemon("<bob@c.example>:\nno such user\n\n" + before + "\n\n" + came)))
		got := told(r)
		if !strings.HasPrefix(got, "bob@c.example no such user") || strings.Contains(got, "virus") ||
			len(r.Notifications[0].Recipients) != 1 {
			t.Errorf("%q: %q", before, got)
		}
		if n := r.Notifications[0]; n.Message.ID != "<1@shop.example>" {
			t.Errorf("%q: the message is %+v", before, n.Message)
		}
	}
}
