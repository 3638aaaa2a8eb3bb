package dsn

import (
	"fmt"
	"io"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Kinds are the kinds of notices that can be previewed.
func Kinds() []string {
	return []string{"failed", "delayed", "relayed", "expired", kindBounced, kindDigest}
}

// The kinds that are none of a notice: a digest, and a failure that was told after the upstream's 250.
const (
	kindDigest  = "digest"
	kindBounced = "bounced"
)

// sampleID and the rest are what the samples are about.
const (
	sampleID      = "01J9ZQ4T5W6X7Y8Z9A0BCDEF"
	sampleDSNID   = "01J9ZQ5A1B2C3D4E5F6G7H8J"
	sampleContent = "From: Shop <shop@example.com>\r\nTo: jane@example.net, raj@example.org\r\n" +
		"Subject: Your order 1042\r\nMessage-ID: <1042@shop.example.com>\r\n" +
		"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\n\r\nThank you for your order.\r\n"
)

// Preview composes a notice of a kind from made-up facts.
func (c *Composer) Preview(kind string) (*relay.Draft, error) {
	if kind == kindDigest {
		return c.ComposeDigest(sampleDigest())
	}
	r, err := sampleReport(kind)
	if err != nil {
		return nil, err
	}
	return c.Compose(r)
}

// PreviewWords are the words of a Preview without their encoding.
func (c *Composer) PreviewWords(kind string) (subject, text, html string, err error) {
	v, prefix, err := c.sampleView(kind)
	if err != nil {
		return "", "", "", err
	}
	w, err := c.o.Templates.render(prefix, v)
	if err != nil {
		return "", "", "", fmt.Errorf("a notice of the kind %q: %w", kind, err)
	}
	return w.subject, w.text, w.html, nil
}

// try fills in the templates for a notice of each kind. Compose would use the built-in ones in place of
// those that fail.
func (c *Composer) try() error {
	for _, kind := range Kinds() {
		if _, _, _, err := c.PreviewWords(kind); err != nil {
			return err
		}
	}
	return nil
}

// sampleView is the View of a sample, and the prefix of its blocks' names.
func (c *Composer) sampleView(kind string) (v *View, prefix string, err error) {
	if kind == kindDigest {
		return c.digestView(sampleDigest()), "digest_", nil
	}
	r, err := sampleReport(kind)
	if err != nil {
		return nil, "", err
	}
	return c.view(r, c.readOriginal(r)), "", nil
}

// sampleReport makes up a report of a kind, on a message to two recipients.
func sampleReport(kind string) (*relay.Report, error) {
	arrived := time.Date(2026, 11, 23, 9, 0, 1, 0, time.UTC)
	m := &relay.Message{
		ID: sampleID, Lane: "default", Arrived: arrived, Size: int64(len(sampleContent)),
		Envelope:  relay.Envelope{From: "shop@example.com", EnvID: "order-1042"},
		Client:    relay.Client{Name: "shop", Addr: "192.0.2.10", Hello: "shop.example.com"},
		MessageID: "<1042@shop.example.com>", Subject: "Your order 1042", HeaderFrom: "example.com",
	}
	r := &relay.Report{
		ID: sampleDSNID, Time: arrived.Add(5 * time.Second), Kind: relay.NoticeKind(kind),
		To:      m.Envelope.From,
		Message: m, Recipients: []int{0}, RetryUntil: arrived.Add(5 * 24 * time.Hour),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(sampleContent)), nil },
	}
	switch kind {
	case "failed":
		m.Recipients = []relay.Recipient{
			sampleRecipient("jane@example.net", relay.Failed, arrived, sampleUnknown, unknownDiagnosis()),
			sampleRecipient("raj@example.org", relay.Failed, arrived, sampleNoRoom, fullDiagnosis()),
		}
		r.Recipients = []int{0, 1}
	case "expired":
		r.Kind = relay.NoticeFailed
		m.Recipients = []relay.Recipient{sampleRecipient("jane@example.net", relay.Expired,
			arrived.Add(5*24*time.Hour), "", silentDiagnosis())}
		m.Recipients[0].Last.NetErr = diagnose.NetErr{Kind: diagnose.NetTimeout,
			Text: "read tcp 192.0.2.10:42100->198.51.100.7:25: i/o timeout"}
	case "delayed":
		m.Recipients = []relay.Recipient{sampleRecipient("raj@example.org", relay.Deferred,
			arrived.Add(4*time.Hour), sampleFull, fullDiagnosis())}
		m.Recipients[0].Diagnosis.Fix[0] = "Wait: it is tried again."
	case "relayed":
		m.Recipients = []relay.Recipient{sampleRecipient("jane@example.net", relay.Relayed, arrived,
			"250 2.0.0 Ok: queued as 4F1B2\r\n", nil)}
		m.Recipients[0].Last.Stage = diagnose.StageEndOfData
	case kindBounced:
		r.Kind, r.Time = relay.NoticeFailed, arrived.Add(3*time.Hour+5*time.Second)
		r.Open = func() (io.ReadCloser, error) { return nil, relay.ErrNotFound } // gone once it was relayed
		m.Recipients = []relay.Recipient{sampleTold(sampleRecipient("jane@example.net", relay.Failed,
			arrived.Add(3*time.Hour), sampleUnknown, unknownDiagnosis()))}
	default:
		return nil, fmt.Errorf("not a kind of bounce: %q; there are %s", kind, strings.Join(Kinds(), ", "))
	}
	return r, nil
}

// sampleTold makes a recipient one whose fate was told after the upstream's 250.
func sampleTold(rc relay.Recipient) relay.Recipient {
	rc.Last.Stage, rc.Last.ReportedBy = diagnose.StageRemote, "smtp.provider.example"
	rc.Last.UpstreamID = "0102019ab-1a2b-000000"
	rc.History = []relay.HistoryEntry{{Time: rc.Last.Time.Add(-3 * time.Hour), Event: relay.EventRelayed}}
	return rc
}

// What the samples' upstream says.
const (
	sampleUnknown = "550-5.1.1 The email account that you tried to reach does not exist.\r\n550 5.1.1 " +
		"Please check the address for typos.\r\n"
	sampleNoRoom = "552 5.2.2 The recipient's mailbox is full\r\n"
	sampleFull   = "452 4.2.2 The recipient's mailbox is full\r\n"
)

// sampleRecipient makes up a recipient and its last attempt.
func sampleRecipient(address string, state relay.State, at time.Time, reply string,
	d *diagnose.Diagnosis) relay.Recipient {
	a := &relay.Attempt{
		Time: at, Upstream: "default", Host: "mx.example.net", Stage: diagnose.StageRcpt,
		Reply: diagnose.ParseReply(reply),
	}
	return relay.Recipient{
		Address: address, ORCPT: "rfc822;" + address,
		Notify: relay.NotifySuccess | relay.NotifyFailure | relay.NotifyDelay,
		State:  state, Attempts: 1, Last: a, Diagnosis: d,
	}
}

func unknownDiagnosis() *diagnose.Diagnosis {
	return &diagnose.Diagnosis{
		Category: diagnose.InvalidAddress, InGuide: true, Reason: "user_unknown",
		Cause: "There is no mailbox with this address at the recipient's mail server.",
		Fix: []string{
			"Check the address for a typing mistake.",
			"Ask the recipient for the right address by another way.",
			"Take the address off your lists: repeated mail to unknown addresses harms your reputation.",
		},
		Scope: diagnose.ScopeRecipient, Owner: diagnose.OwnerApplication,
		Action: diagnose.ActionRemoveAddress,
		Basis:  diagnose.BasisText, Confidence: diagnose.High, Rule: "sample",
	}
}

func fullDiagnosis() *diagnose.Diagnosis {
	return &diagnose.Diagnosis{
		Category: diagnose.MailboxFull, InGuide: true, Reason: "mailbox_full",
		Cause: "The recipient's mailbox has no room for more mail.",
		Fix: []string{"Wait and send it again later.",
			"Tell the recipient by another way that the mailbox is full."},
		Evidence: []string{"The message has 58 kB."},
		Links:    []string{"https://example.net/help/mailbox-full"},
		Scope:    diagnose.ScopeRecipient, Owner: diagnose.OwnerRecipient, Action: diagnose.ActionWait,
		Basis: diagnose.BasisPair, Confidence: diagnose.Medium, Rule: "sample",
	}
}

func silentDiagnosis() *diagnose.Diagnosis {
	return &diagnose.Diagnosis{
		Category: diagnose.ConnectionFailure, Reason: "timeout",
		Cause: "The mail server took the connection and then did not answer.",
		Fix:   []string{"Ask the operator of this mail system to look at its way to the mail server."},
		Scope: diagnose.ScopeUpstream, Owner: diagnose.OwnerOperator, Action: diagnose.ActionRetry,
		Basis: diagnose.BasisNetwork, Confidence: diagnose.High, Rule: "sample",
	}
}

// sampleDigest makes up a digest.
func sampleDigest() *relay.Digest {
	at := time.Date(2026, 11, 23, 9, 0, 1, 0, time.UTC)
	d := &relay.Digest{ID: sampleDSNID, Time: at.Add(10 * time.Minute), To: "shop@example.com",
		Diagnosis: unknownDiagnosis()}
	for i := range 120 {
		name := fmt.Sprintf("user%03d@example.net", i)
		d.Failures = append(d.Failures, relay.DigestFailure{
			ID: relay.DerivedID(at, name), MessageID: "<" + name + ">", Recipient: name,
			Time:  at.Add(time.Duration(i) * time.Second),
			Reply: diagnose.ParseReply("550 5.1.1 User unknown\r\n"),
		})
	}
	return d
}
