package sqlite

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"mailwhy/relay"
)

// record is a message in the form in which it is stored.
type record struct {
	seq        int64
	id         string
	lane       string
	sender     string
	arrived    int64
	size       int64
	sum        uint32
	file       string // "" when the content is in the database
	turn       int64  // 0 when it is not in the line
	due        int64  // never when nothing is to be tried
	open       int64
	crashes    int64
	head       string
	headSum    uint32
	recipients string
	stateSum   uint32
	data       []byte // the content, where it is at hand and not in a file
}

// columns are those of a record, in the order in which scan reads them.
const columns = "seq, id, lane, sender, arrived, size, sum, file, turn, due, open, crashes, head, head_sum, recipients, state_sum"

// columnsAndContent are these and the content, if it is not in a file and takes at most ?1 bytes.
const columnsAndContent = columns + ", (SELECT data FROM content WHERE content.seq=message.seq AND message.size<=?1)"

// never is a due time that does not come.
const never = math.MaxInt64

// castagnoli is the polynomial that processors have an instruction for.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// sum is the checksum of parts, each set off from the next.
func sum(parts ...string) uint32 {
	var c uint32
	end := []byte{0}
	for _, p := range parts {
		// A conversion would copy the text, which is as long as a list of recipients. Nothing writes to these bytes.
		c = crc32.Update(c, castagnoli(), unsafe.Slice(unsafe.StringData(p), len(p)))
		c = crc32.Update(c, castagnoli(), end)
	}
	return c
}

// sumHead is the checksum over all that never changes.
func (r *record) sumHead() uint32 {
	return sum(r.id, r.head, strconv.FormatInt(r.size, 10), strconv.FormatUint(uint64(r.sum), 10), r.file)
}

// sumState is the checksum over what a settlement changes.
func (r *record) sumState() uint32 { return sum(r.id, r.recipients, strconv.FormatInt(r.open, 10)) }

// sumStateFirst is the checksum that the very first builds stored, if the number of open recipients, which it
// does not cover, is right.
func (r *record) sumStateFirst() uint32 {
	recipients, err := decodeRecipients([]byte(r.recipients))
	counted := new(record)
	counted.count(recipients)
	if err != nil || counted.open != r.open {
		return ^r.stateSum
	}
	return sum(r.id, r.recipients)
}

// encode makes the record of a message whose content is stored.
func encode(m *relay.Message) (*record, error) {
	r := &record{
		id: m.ID, lane: m.Lane, sender: strings.ToLower(m.Envelope.From),
		arrived: nanos(m.Arrived), size: m.Size,
	}
	head := storedHead{Message: *m}
	head.Recipients = nil
	head.Octets = octets(head.texts())
	b, err := json.Marshal(&head)
	if err != nil {
		return nil, fmt.Errorf("encoding the message: %w", err)
	}
	r.head = string(b)
	return r, r.setRecipients(m.Recipients)
}

// setRecipients puts the recipients' state into the record.
func (r *record) setRecipients(recipients []relay.Recipient) error {
	b, err := encodeRecipients(recipients)
	if err != nil {
		return fmt.Errorf("encoding the recipients: %w", err)
	}
	r.recipients = string(b)
	r.count(recipients)
	r.stateSum = r.sumState()
	return nil
}

// count notes how many recipients are not final, and when the first is due.
func (r *record) count(recipients []relay.Recipient) {
	r.due, r.open = never, 0
	for i := range recipients {
		if !recipients[i].State.Final() {
			r.open++
		}
		if recipients[i].Waiting() {
			r.due = min(r.due, nanos(recipients[i].NextAttempt))
		}
	}
}

// decode restores the message. Its error says that the record is damaged.
func (r *record) decode() (*relay.Message, error) {
	if r.headSum != r.sumHead() {
		return nil, errors.New("the checksum of the message does not match")
	}
	if r.stateSum != r.sumState() && r.stateSum != r.sumStateFirst() {
		return nil, errors.New("the checksum of the recipients does not match")
	}
	return r.decodeAnyway()
}

// decodeAnyway restores what it can of the message, whatever the checksums say: on an error the message, which is never
// nil, is incomplete.
func (r *record) decodeAnyway() (*relay.Message, error) {
	var head storedHead
	err := json.Unmarshal([]byte(r.head), &head)
	restore(head.texts(), head.Octets)
	m := &head.Message
	m.ID, m.Lane, m.Size = r.id, r.lane, r.size
	var stateErr error
	m.Recipients, stateErr = decodeRecipients([]byte(r.recipients))
	return m, errors.Join(err, stateErr)
}

// storedHead is the JSON of a message without its recipients. JSON has no strings that are not UTF-8; where a client
// sent such bytes they stand in Octets, under the number of the text.
type storedHead struct {
	relay.Message
	Octets map[int][]byte `json:"octets,omitempty"`
}

// texts are the fields that hold a client's bytes. The order is part of the format.
func (h *storedHead) texts() []*string {
	return []*string{
		&h.Subject, &h.MessageID, &h.HeaderFrom, &h.Envelope.From, &h.Envelope.EnvID,
		&h.Client.Hello, &h.Client.User, &h.Client.Name,
	}
}

// storedRecipient is the JSON of a recipient with bytes that are not UTF-8.
type storedRecipient struct {
	relay.Recipient
	Octets map[int][]byte `json:"octets,omitempty"`
}

// texts are the fields that hold others' bytes. The order is part of the format.
func (s *storedRecipient) texts() []*string {
	ts := []*string{&s.Address, &s.ORCPT, &s.HeldWhy}
	for i := range s.History {
		ts = append(ts, &s.History[i].Reply)
	}
	return ts
}

// octets keeps the texts that JSON cannot.
func octets(texts []*string) (o map[int][]byte) {
	for i, t := range texts {
		if !utf8.ValidString(*t) {
			if o == nil {
				o = map[int][]byte{}
			}
			o[i] = []byte(*t)
		}
	}
	return o
}

// restore undoes octets.
func restore(texts []*string, o map[int][]byte) {
	for i, b := range o {
		if i >= 0 && i < len(texts) {
			*texts[i] = string(b)
		}
	}
}

func encodeRecipients(recipients []relay.Recipient) ([]byte, error) {
	plain := true
	stored := make([]storedRecipient, len(recipients))
	for i := range recipients {
		stored[i].Recipient = recipients[i]
		stored[i].Octets = octets(stored[i].texts())
		plain = plain && stored[i].Octets == nil
	}
	if plain {
		return json.Marshal(recipients)
	}
	return json.Marshal(stored)
}

func decodeRecipients(b []byte) ([]relay.Recipient, error) {
	if !bytes.Contains(b, []byte(`"octets":{`)) {
		var recipients []relay.Recipient
		err := json.Unmarshal(b, &recipients)
		return recipients, err
	}
	var stored []storedRecipient
	err := json.Unmarshal(b, &stored)
	recipients := make([]relay.Recipient, len(stored))
	for i := range stored {
		restore(stored[i].texts(), stored[i].Octets)
		recipients[i] = stored[i].Recipient
	}
	return recipients, err
}

// nanos is a time as it is stored. Times that do not fit become the first or the last that do.
func nanos(t time.Time) int64 {
	switch y := t.Year(); {
	case y < 1970:
		return 0
	case y > 2261:
		return never - 1
	}
	return t.UnixNano()
}

// timeOf undoes nanos.
func timeOf(n int64) time.Time { return time.Unix(0, n) }

// scan reads a row of columns, or of columnsAndContent.
func (r *record) scan(row []driver.Value) error {
	*r = record{due: never}
	ok := true
	integer := func(i int) int64 {
		n, is := row[i].(int64)
		ok = ok && (is || row[i] == nil)
		return n
	}
	text := func(i int) string {
		s, is := row[i].(string)
		ok = ok && (is || row[i] == nil)
		return s
	}
	r.seq, r.id, r.lane, r.sender = integer(0), text(1), text(2), text(3)
	r.arrived, r.size, r.sum, r.file = integer(4), integer(5), uint32(integer(6)), text(7)
	r.turn, r.open, r.crashes = integer(8), integer(10), integer(11)
	if row[9] != nil {
		r.due = integer(9)
	}
	r.head, r.headSum, r.recipients, r.stateSum = text(12), uint32(integer(13)), text(14), uint32(integer(15))
	if len(row) > 16 {
		r.data, _ = row[16].([]byte)
	}
	if !ok {
		return errDamaged{"a row of the table message has values of a wrong type"}
	}
	return nil
}

// null is n, or NULL for the value that stands for none.
func null[T comparable](n, none T) driver.Value {
	if n == none {
		return nil
	}
	return n
}
