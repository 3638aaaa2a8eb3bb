package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// Recovered is a message that a journal holds.
type Recovered struct {
	Message *relay.Message // what can be read of it
	Content []byte
	Damage  string // why it cannot be put back; "" when it is whole
}

// ReadJournal reads the messages that the journal in the file name holds, one that was set aside for
// instance, of this or any earlier format: those that had come and not gone when it was last written to, in
// their order.
func ReadJournal(name string) ([]Recovered, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if version, _, ok := parseFirstPage(b); ok && version > files.Format {
		return nil, fmt.Errorf("%s was written by a newer release: its format is %d, and this release "+
			"knows formats up to %d; read it with the newer one", name, version, files.Format)
	}
	j := parseJournal(b)
	if _, _, ok := parseFirstPage(b); !ok && j.empty() {
		return nil, fmt.Errorf("not a journal of a spool: %s", name)
	}
	var all []Recovered
	for _, r := range j.all().come {
		all = append(all, recovered(r))
	}
	return all, nil
}

// recovered is a record with its checksums looked at.
func recovered(r *spool.Record) Recovered {
	m, err := r.Decode()
	if err == nil {
		err = r.CheckContent()
	}
	if err == nil {
		return Recovered{Message: m, Content: r.Data}
	}
	m, _ = r.DecodeAnyway()
	return Recovered{Message: m, Content: r.Data, Damage: err.Error()}
}

// recoveredFor is how long the ids of messages that were put back are known.
const recoveredFor = 10 * 365 * 24 * time.Hour

// Recover puts a message of a journal back under its id. It reports false when the message is there, or was
// put back before. The limits of the spool do not hold for it.
func (s *Spool) Recover(ctx context.Context, r Recovered) (stored bool, err error) {
	if r.Damage != "" {
		return false, fmt.Errorf("%s is damaged: %s", r.Message.ID, r.Damage)
	}
	p, err := s.receive(r.Message, bytes.NewReader(r.Content), false)
	if err != nil {
		return false, err
	}
	op := &operation{put: p, grows: true, size: p.bytes(), after: p.after, apply: func(t *database.Tx) error {
		p.stored = false
		if known, err := t.Remember(p.r.ID, spool.Nanos(s.o.Now().Add(recoveredFor))); known || err != nil {
			return err
		}
		s.queue.GiveSlot(p.r)
		p.stored, err = t.Insert(p.r, p.r.Data)
		return err
	}}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return p.stored && err == nil, err
}
