package dsn

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
)

// The form of a digest.
const (
	digestSamples = 5
	digestFile    = "failures.csv"
)

// ComposeDigest writes a digest: many failures of one kind, in one notice for a person and a list for a
// program. It is not a multipart/report, since a delivery status is about one message (RFC 3464, 2).
func (c *Composer) ComposeDigest(d *relay.Digest) (*relay.Draft, error) {
	if len(d.Failures) == 0 {
		return nil, errors.New("a digest of nothing")
	}
	words, err := c.write("digest_", c.digestView(d))
	if err != nil {
		return nil, err
	}
	list, err := digestList(d)
	if err != nil {
		return nil, err
	}
	head := c.header(d.ID, d.To, words.subject, d.Time)
	return c.draft(d.ID, d.To, words.subject, "multipart/mixed", head, []part{words.part(), list}), nil
}

// digestView gathers what the templates need for a digest.
func (c *Composer) digestView(d *relay.Digest) *View {
	v := &View{
		Kind: kindDigest, Host: c.o.Hostname, To: clean.Line(d.To, maxAddress),
		Sender:   clean.Line(d.To, maxAddress),
		ReportID: d.ID, QueueID: d.ID, Count: len(d.Failures), FileName: digestFile, Returned: returnedNone,
	}
	common := RecipientView{Outcome: string(relay.Failed)}
	common.diagnosis(d.Diagnosis)
	v.Recipients = []RecipientView{common}
	v.First, v.Last = utc(d.Failures[0].Time), utc(d.Failures[0].Time)
	for i := range d.Failures {
		f := &d.Failures[i]
		if f.Time.Before(v.First) {
			v.First = utc(f.Time)
		}
		if f.Time.After(v.Last) {
			v.Last = utc(f.Time)
		}
		if i < digestSamples {
			v.Samples = append(v.Samples, sampleView(f))
		}
	}
	return v
}

// sampleView is one failure of a digest, for the person.
func sampleView(f *relay.DigestFailure) RecipientView {
	v := RecipientView{
		Address: clean.Line(f.Recipient, maxAddress), Outcome: digestOutcome(f), Time: utc(f.Time),
		QueueID: f.ID,
		Reply:   replyLines(f.Reply.Raw, clean.Line),
	}
	if len(v.Reply) == 0 {
		v.NoReply = clean.Line(f.NetErr.Text, maxText)
	}
	return v
}

func digestOutcome(f *relay.DigestFailure) string {
	if f.Expired {
		return string(relay.Expired)
	}
	return string(relay.Failed)
}

// digestList is the attachment: every failure, a line each (RFC 4180).
func digestList(d *relay.Digest) (part, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	rows := [][]string{{"queue_id", "message_id", "recipient", "time", "outcome", "code", "enhanced",
		"reply"}}
	for i := range d.Failures {
		rows = append(rows, digestRow(&d.Failures[i]))
	}
	if err := w.WriteAll(rows); err != nil {
		return part{}, err
	}
	p := textPart("text/csv", b.String())
	p.header.add("Content-Disposition", `attachment; filename="`+digestFile+`"`)
	return p, nil
}

// digestRow is one line of the list.
func digestRow(f *relay.DigestFailure) []string {
	reply := strings.Join(replyLines(f.Reply.Raw, clean.Line), " ")
	code := ""
	if f.Reply.Code != 0 {
		code = strconv.Itoa(f.Reply.Code)
	}
	if reply == "" {
		reply = clean.Line(f.NetErr.Text, maxText)
	}
	row := []string{
		f.ID, clean.Line(f.MessageID, maxAddress), clean.Line(f.Recipient, maxAddress),
		f.Time.UTC().Format(time.RFC3339),
		digestOutcome(f), code, f.Reply.Enhanced.String(), ellipsis(reply, maxText),
	}
	for i := range row {
		row[i] = noFormula(row[i])
	}
	return row
}

// noFormula keeps a spreadsheet from computing what a stranger wrote.
func noFormula(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
