// Package dsn composes delivery status notifications: the bounces, delay notices and relay notices that
// tell the sender of a message what became of it, to be read by a person and by a program.
//
// The reporter in package relay calls Compose with a message and the recipients concerned, and stores what
// it gets. cmd/mailwhy makes one Composer and hands it to the reporter, previews templates with it, and
// asks IsOwn whether a message that comes in is one of our own reports.
//
// A DSN is a multipart/report (RFC 6522) of three parts. Part 1 is text and HTML for a person, from the
// templates: what happened in one sentence, then for each recipient the other side's words, the diagnosis
// and the fix. Part 2 is the message/delivery-status (RFC 3464), or message/global-delivery-status (RFC
// 6533) where anything in it needs more than ASCII. Part 3 is the original message or its header, as RET
// asks and within a limit (RFC 3461, 6.2).
//
// Recipients of whom the same is to be said (relay.SameFailure) share one block of part 1, and have each
// their own in part 2; group.go says what large groups leave out there.
//
// A report on what became known after the upstream's 250 (diagnose.StageRemote) is a gateway's: the system
// that told of it is the Reporting-MTA, and this one the DSN-Gateway (RFC 3464, 2.2.3).
//
// What always holds: the fields of part 2 say what the upstream said, untouched by the diagnosis, which
// stands in X-Mailwhy- fields behind them. Whatever a stranger wrote (replies, subjects, addresses, HELO
// names) is cleaned, capped and folded before it is written, so it can end neither a line nor a part. No
// line is longer than 998 bytes, no boundary occurs in a part. The size of a DSN is bounded, whatever the
// message's size: replies and header are cut, and content over the limit is left out. The package keeps no
// state and does no I/O but through Report.Open.
package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
)

// Options are what a Composer needs. Hostname, From and Key are required.
type Options struct {
	// Hostname is the name of this system, the Reporting-MTA.
	Hostname string
	// From is the address in the From header, of a person who can help (RFC 3464, 2).
	From string
	// Key signs the reports' Message-IDs, see IsOwn; it is the spool's secret.
	Key []byte
	// ReturnLimit is the size in bytes up to which a failed message is returned whole; 0 returns headers
	// only.
	ReturnLimit int64
	// Templates write part 1; nil means the built-in English ones.
	Templates *Templates
	// Log gets an error when the operator's own template fails and the built-in ones are used; nil discards
	// it.
	Log *slog.Logger
}

// check names the required options that are not set.
func (o *Options) check() error {
	var errs []error
	for _, required := range []struct {
		name string
		set  bool
	}{
		{"Hostname", o.Hostname != ""}, {"From", o.From != ""}, {"Key", len(o.Key) > 0},
	} {
		if !required.set {
			errs = append(errs, fmt.Errorf("dsn: %s must be set", required.name))
		}
	}
	return errors.Join(errs...)
}

// Composer writes delivery status notifications. It implements relay.Composer and is safe for concurrent use.
type Composer struct {
	o        Options
	embedded *Templates
}

var _ relay.Composer = (*Composer)(nil)

// New makes a Composer. It tries the templates on made-up mail, and returns the error of one that fails.
func New(o Options) (*Composer, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	embedded, err := EmbeddedTemplates()
	if err != nil {
		return nil, err
	}
	if o.Templates == nil {
		o.Templates = embedded
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Composer{o: o, embedded: embedded}
	return c, c.try()
}

// Compose writes a DSN.
func (c *Composer) Compose(r *relay.Report) (*relay.Draft, error) {
	if len(r.Recipients) == 0 {
		return nil, errors.New("a report without recipients")
	}
	for _, i := range r.Recipients {
		if d := r.Message.Recipients[i].Diagnosis; d != nil && d.Reason == diagnose.ReasonSpamComplaint {
			return nil, errors.New("a report on a complaint: a message that somebody complains of arrived")
		}
	}
	original := c.readOriginal(r)
	v := c.view(r, original)
	words, err := c.write("", v)
	if err != nil {
		return nil, err
	}
	status := c.statusPart(r)
	returned, ok := original.part(r)
	parts := []part{words.part(), status}
	if ok {
		parts = append(parts, returned)
	}
	head := c.header(r.ID, r.To, words.subject, r.Time)
	head.add("In-Reply-To", threadID(r.Message.MessageID))
	head.add("References", threadID(r.Message.MessageID))
	return c.draft(r.ID, r.To, words.subject, "multipart/report; report-type=delivery-status", head, parts),
		nil
}

// words are part 1.
type words struct{ id, subject, text, html string }

// write fills in the templates whose names begin with prefix. Those of the operator must not cost anyone a
// bounce: when one fails, the embedded ones serve.
func (c *Composer) write(prefix string, v *View) (*words, error) {
	w, err := c.o.Templates.render(prefix, v)
	if err != nil && c.o.Templates != c.embedded {
		c.o.Log.Error("the bounce template failed; using the built-in one", "err", err)
		w, err = c.embedded.render(prefix, v)
	}
	if err != nil {
		return nil, err
	}
	w.id = v.ReportID
	return w, nil
}

// part is w as a body part: the same words twice, the plainer form first (RFC 2046, 5.1.4).
func (w *words) part() part {
	return multipart("multipart/alternative", w.id+"a", []part{
		textPart("text/plain", w.text), textPart("text/html", w.html),
	})
}

// header is the outer header but for the content type. To is the recipient of the report (RFC 3464, 2); the
// subject is encoded.
func (c *Composer) header(id, to, subject string, at time.Time) *header {
	h := &header{}
	h.add("From", "Mail Delivery System <"+c.o.From+">")
	h.add("To", "<"+clean.Line(to, maxAddress)+">")
	h.add("Subject", encodedWords(subject))
	h.add("Date", at.Format(dateLayout))
	h.add("Message-ID", MessageID(c.o.Key, id, c.o.Hostname))
	h.add("Auto-Submitted", "auto-replied") // RFC 3834, 5.2
	h.add("MIME-Version", "1.0")
	return h
}

// draft puts the message together.
func (c *Composer) draft(id, to, subject, mediaType string, h *header, parts []part) *relay.Draft {
	message := multipart(mediaType, id, parts)
	message.header.text = append(h.text, message.header.text...)
	var b bytes.Buffer
	b.Grow(message.size())
	message.write(&b)
	return &relay.Draft{
		MessageID: MessageID(c.o.Key, id, c.o.Hostname),
		Subject:   subject,
		From:      c.o.From,
		EightBit:  message.eightBit,
		UTF8:      !isASCII(to) || !isASCII(c.o.From),
		Content:   b.Bytes(),
	}
}

// threadID is an original Message-ID as it may stand in References, or "" when it is none.
func threadID(id string) string {
	if len(id) > 900 || len(id) < 3 || id[0] != '<' || id[len(id)-1] != '>' || !isASCII(id) {
		return ""
	}
	if strings.ContainsAny(id, " \t") || clean.ASCII(id, len(id)) != id {
		return ""
	}
	return id
}

// mtaName is a host name with its type (RFC 3464, 2.2.2): dns only for a domain name that others can look up.
func mtaName(host string) string {
	host = clean.ASCII(strings.TrimSpace(host), maxAddress)
	if isDomain(host) {
		return "dns; " + host
	}
	// a lone parenthesis would begin or end a comment
	return "x-local-hostname; " + strings.NewReplacer("(", "?", ")", "?", `\`, "?").Replace(host)
}

// isDomain reports whether s can be a fully qualified domain name.
func isDomain(s string) bool {
	if !strings.Contains(s, ".") || net.ParseIP(s) != nil || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}
