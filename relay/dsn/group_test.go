package dsn

import (
	"fmt"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// gmailFull is a reply of five lines.
const gmailFull = "552-5.2.2 The recipient's inbox is out of storage space and inactive. Please\r\n" +
	"552-5.2.2 direct the recipient to\r\n552-5.2.2  https://support.google.com/mail/?p=OverQuotaPerm\r\n" +
	"552-5.2.2 and ask them to free some space, or reach them in another\r\n" +
	"552 5.2.2 way. 4fb4d7f45d1cf - gsmtp\r\n"

// TestThousandRecipients: a bounce for a thousand with one reply is one block of words that begins with
// what happened, and under 150 KB, and each of them is in it for a person and for a program.
func TestThousandRecipients(t *testing.T) {
	for name, reply := range map[string]string{"many": sampleUnknown, "many-long": gmailFull} {
		var rs []relay.Recipient
		for i := range 1000 {
			rs = append(rs, refused(fmt.Sprintf("customer%04d@example.com", i), relay.Failed, reply,
				unknownDiagnosis()))
		}
		r := reportOf(relay.NoticeFailed, sampleContent, rs...)
		d, err := composer(t, nil).Compose(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Content) >= 150_000 {
			t.Errorf("%s: the bounce has %d bytes", name, len(d.Content))
		}
		words, status, _ := readDSN(t, r, "relay.example.com", d.Content)
		for _, alternative := range words.parts(t, "multipart/alternative") {
			text := alternative.decoded(t)
			cause := unknownDiagnosis().Cause[:20] // before it is wrapped
			if n := strings.Count(text, cause); n != 1 {
				t.Errorf("%s: the cause stands there %d times", name, n)
			}
			checkListed(t, text, rs)
		}
		checkListed(t, status.decoded(t), rs)
		if !strings.Contains(d.Subject, "1000 recipients") {
			t.Errorf("subject %q", d.Subject)
		}
		checkGolden(t, name+".txt", []byte(words.parts(t, "multipart/alternative")[0].decoded(t)))
	}
}

// checkListed holds that each of the recipients stands in text once.
func checkListed(t *testing.T, text string, rs []relay.Recipient) {
	t.Helper()
	for _, rc := range rs {
		if n := strings.Count(text, rc.Address); n != 1 {
			t.Fatalf("%s stands there %d times", rc.Address, n)
		}
	}
}

// TestGroupsBySize: what a block of part 2 says for groups of each size is held by the strict reader.
func TestGroupsBySize(t *testing.T) {
	for _, n := range []int{1, 2, 10, 11, 100, 101} {
		var rs []relay.Recipient
		for i := range n {
			rs = append(rs, refused(fmt.Sprintf("c%d@example.com", i), relay.Failed, sampleUnknown,
				unknownDiagnosis()))
			rs = append(rs, refused(fmt.Sprintf("d%d@example.com", i), relay.Failed, sampleNoRoom,
				fullDiagnosis()))
		}
		r := reportOf(relay.NoticeFailed, sampleContent, rs...)
		d, err := composer(t, nil).Compose(r)
		if err != nil {
			t.Fatal(err)
		}
		readDSN(t, r, "relay.example.com", d.Content)
	}
}

// TestSubjectOfOurOwnFault: what we must mend ourselves is not announced as the recipient's error.
func TestSubjectOfOurOwnFault(t *testing.T) {
	for owner, want := range map[diagnose.Owner]bool{
		diagnose.OwnerOperator: false, diagnose.OwnerUpstreamProvider: false,
		diagnose.OwnerApplication: true, diagnose.OwnerRecipient: true, diagnose.OwnerRecipientAdmin: true,
	} {
		d := unknownDiagnosis()
		d.Category, d.Owner = diagnose.RecipientError, owner
		r := reportOf(relay.NoticeDelayed, sampleContent,
			refused("jane@example.net", relay.Deferred, "535 5.7.8 no\r\n", d))
		draft, err := composer(t, nil).Compose(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(draft.Subject, string(diagnose.RecipientError)); got != want {
			t.Errorf("owner %s: subject %q", owner, draft.Subject)
		}
	}
}
