package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"mailwhy/relay"
)

// Record is a message in the form in which it is stored.
type Record struct {
	Seq        int64
	ID         string
	Lane       string
	Sender     string
	Arrived    int64
	Size       int64
	Sum        uint32
	File       string // "" when the content is in the database
	Mail       string // "" when it is the only message of its mail
	Content    int64  // the number that its content is stored under; 0: its own
	Slot       int64  // 0 when it is not in the line
	Due        int64  // never when nothing is to be tried
	Open       int64
	Crashes    int64
	Head       string
	HeadSum    uint32
	Recipients string
	StateSum   uint32
	Data       []byte // the content, where it is at hand and not in a file
}

// Never is a due time that does not come.
const Never = math.MaxInt64

// Castagnoli is the polynomial that processors have an instruction for.
func Castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// sum is the checksum of parts, each set off from the next.
func sum(parts ...string) uint32 {
	var c uint32
	end := []byte{0}
	for _, p := range parts {
		// A conversion would copy the text, which is as long as a list of recipients. Nothing writes to
		// these bytes.
		c = crc32.Update(c, Castagnoli(), unsafe.Slice(unsafe.StringData(p), len(p)))
		c = crc32.Update(c, Castagnoli(), end)
	}
	return c
}

// SumHead is the checksum over all that never changes.
func (r *Record) SumHead() uint32 {
	return sum(r.ID, r.Head, strconv.FormatInt(r.Size, 10), strconv.FormatUint(uint64(r.Sum), 10), r.File)
}

// SumState is the checksum over what a settlement changes.
func (r *Record) SumState() uint32 { return sum(r.ID, r.Recipients, strconv.FormatInt(r.Open, 10)) }

// sumStateFirst is the checksum that the very first builds stored, if the number of open recipients, which it
// does not cover, is right.
func (r *Record) sumStateFirst() uint32 {
	recipients, err := decodeRecipients([]byte(r.Recipients))
	counted := new(Record)
	counted.Count(recipients)
	if err != nil || counted.Open != r.Open {
		return ^r.StateSum
	}
	return sum(r.ID, r.Recipients)
}

// Encode makes the record of a message. The caller sets HeadSum, by SumHead, once Sum, File and Size stand.
func Encode(m *relay.Message) (*Record, error) {
	r := &Record{
		ID: m.ID, Mail: m.Mail, Lane: m.Lane, Sender: strings.ToLower(m.Envelope.From),
		Arrived: Nanos(m.Arrived), Size: m.Size,
	}
	head := storedHead{Message: *m}
	head.Recipients = nil
	head.Octets = octets(head.texts())
	b, err := json.Marshal(&head)
	if err != nil {
		return nil, fmt.Errorf("encoding the message: %w", err)
	}
	r.Head = string(b)
	return r, r.SetRecipients(m.Recipients)
}

// SetRecipients puts the recipients' state into the record.
func (r *Record) SetRecipients(recipients []relay.Recipient) error {
	b, err := encodeRecipients(recipients)
	if err != nil {
		return fmt.Errorf("encoding the recipients: %w", err)
	}
	r.Recipients = string(b)
	r.Count(recipients)
	r.StateSum = r.SumState()
	return nil
}

// CheckSettlement refuses a settlement of a message with that many recipients which has more or fewer: a
// recipient would be lost, or be offered a message that is not theirs.
func CheckSettlement(st *relay.Settlement, recipients int) error {
	if n := len(st.Recipients); n != recipients {
		return fmt.Errorf("the settlement has %d recipients and the message %d: give all of the message, "+
			"in its order", n, recipients)
	}
	return nil
}

// Count notes how many recipients are not final, and when the first is due.
func (r *Record) Count(recipients []relay.Recipient) {
	r.Due, r.Open = Never, 0
	for i := range recipients {
		if !recipients[i].State.Final() {
			r.Open++
		}
		if recipients[i].Waiting() {
			r.Due = min(r.Due, Nanos(recipients[i].NextAttempt))
		}
	}
}

// Decode restores the message. Its error says that the record is damaged.
func (r *Record) Decode() (*relay.Message, error) {
	if r.HeadSum != r.SumHead() {
		return nil, errors.New("the checksum of the message does not match")
	}
	if r.StateSum != r.SumState() && r.StateSum != r.sumStateFirst() {
		return nil, errors.New("the checksum of the recipients does not match")
	}
	return r.DecodeAnyway()
}

// DecodeAnyway restores what it can of the message, whatever the checksums say: on an error the message,
// which is never nil, is incomplete.
func (r *Record) DecodeAnyway() (*relay.Message, error) {
	var head storedHead
	err := json.Unmarshal([]byte(r.Head), &head)
	restore(head.texts(), head.Octets)
	m := &head.Message
	m.ID, m.Lane, m.Size = r.ID, r.Lane, r.Size
	var stateErr error
	m.Recipients, stateErr = decodeRecipients([]byte(r.Recipients))
	return m, errors.Join(err, stateErr)
}

// Nanos is a time as it is stored. Times that do not fit become the first or the last that do.
func Nanos(t time.Time) int64 {
	switch y := t.Year(); {
	case y < 1970:
		return 0
	case y > 2261:
		return Never - 1
	}
	return t.UnixNano()
}

// TimeOf undoes nanos.
func TimeOf(n int64) time.Time { return time.Unix(0, n) }

// CheckContent compares the content of a record that has it at hand with what was stored.
func (r *Record) CheckContent() error {
	switch {
	case r.Data == nil && r.Size > 0:
		return fmt.Errorf("%w: it is missing", relay.ErrCorrupt)
	case int64(len(r.Data)) != r.Size:
		return fmt.Errorf("%w: %d bytes of %d", relay.ErrCorrupt, len(r.Data), r.Size)
	case crc32.Checksum(r.Data, Castagnoli()) != r.Sum:
		return fmt.Errorf("%w: wrong checksum", relay.ErrCorrupt)
	}
	return nil
}

// Tombstone is what a damaged message leaves behind so that its sender is told: the message without its
// content, due now. Who comes to relay it finds that the content is damaged, and fails it. It is nil where
// the sender is not known for sure, or nothing is left to fail.
func (r *Record) Tombstone(now time.Time) *Record {
	m, err := r.DecodeAnyway()
	if err != nil || m.Report || m.Envelope.From == "" || !strings.EqualFold(m.Envelope.From, r.Sender) {
		return nil
	}
	waits := false
	for i := range m.Recipients {
		if m.Recipients[i].Waiting() {
			m.Recipients[i].NextAttempt = now
			waits = true
		}
	}
	m.Size = max(m.Size, 1) // no bytes cannot be missing
	t, err := Encode(m)
	if err != nil || !waits {
		return nil
	}
	t.Seq = r.Seq
	t.HeadSum = t.SumHead()
	return t
}
