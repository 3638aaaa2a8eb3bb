package mail

import (
	"context"
	"fmt"
	"time"

	"mailwhy/relay/feedback"
)

// MaxSize is how much of a mail is kept, in bytes. Reports stand in front of what they return, and the header
// of what came back in front of its body: what lies beyond is the attachments of somebody's mail.
const MaxSize = 1 << 20

// Journal keeps reports until they have had their effect. It is safe for concurrent use.
type Journal interface {
	// Append makes a report durable: when it returns nil, the report survives a crash of the process and of
	// the machine. It returns when ctx is done; a report whose Append failed may be in the journal all the
	// same, and comes again. It keeps no reference to raw.
	Append(ctx context.Context, raw *feedback.Raw) error
}

// Intake takes in the mail of one source: a listener, a pipe, a mailbox. Its fields are set before it is
// used, all of them. It is safe for concurrent use if they are.
type Intake struct {
	Source  string // its name, for feedback.Raw
	Reader  *Reader
	Journal Journal
	Now     func() time.Time
	// Record hears of each mail, for the log and metrics. The error is the journal's.
	Record func(Verdict, error)
}

// Take judges a mail, and journals a report. Of a mail whose verdict is VerdictPerson it keeps nothing: it
// is to be left or passed on. The error says that a report could not be kept and is to come again.
func (in *Intake) Take(ctx context.Context, m *Mail) (Verdict, error) {
	if len(m.Content) > MaxSize {
		short := *m
		short.Content, short.Cut = m.Content[:MaxSize], true
		m = &short
	}
	verdict := in.Reader.Judge(m)
	var err error
	if verdict.Taken() {
		if err = in.Journal.Append(ctx, m.raw(in.Source, in.Now())); err != nil {
			err = fmt.Errorf("journal: %w", err)
		}
	}
	in.Record(verdict, err)
	return verdict, err
}
