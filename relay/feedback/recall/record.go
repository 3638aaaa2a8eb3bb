package recall

import (
	"encoding/binary"
	"errors"
	"time"

	"mailwhy/relay"
)

// A message is stored as a list of texts and numbers, each with its length in front, since with the names of
// JSON it would take twice the room. The first byte is the number of the layout.

const recordLayout = 1

// errDamaged says that a message is not what was stored.
var errDamaged = errors.New("a remembered message is damaged, or of another layout")

// The bits of a record's flags.
const (
	flagUTF8 = 1 << iota
	flagReport
	flagEightBit
)

// The bits of a recipient's flags.
const (
	flagUncertain = 1 << iota
	flagDSN
	flagLast // it was offered
)

// encode is m as it is stored: what matching, diagnosing and a DSN need. Of the last attempts the reply is
// left out.
func encode(m *relay.Message) []byte {
	var e encoder
	e.b = make([]byte, 0, 384)
	e.number(recordLayout)
	flags := uint64(0)
	if m.Envelope.SMTPUTF8 {
		flags |= flagUTF8
	}
	if m.Report {
		flags |= flagReport
	}
	if m.Envelope.Body == relay.Body8BitMIME {
		flags |= flagEightBit
	}
	e.number(flags)
	e.texts(m.ID, m.Mail, m.Lane, m.Envelope.From, m.Envelope.EnvID, string(m.Envelope.Ret), m.Client.Name,
		m.Client.User, m.Client.Addr, m.MessageID, m.Subject, m.HeaderFrom)
	e.number(uint64(len(m.DKIM)))
	e.texts(m.DKIM...)
	e.number(uint64(max(0, m.Size)))
	e.time(m.Arrived)
	e.number(uint64(len(m.Recipients)))
	for i := range m.Recipients {
		e.recipient(&m.Recipients[i], m.Lane)
	}
	if m.TraceID != "" { // a record may end before it, and older builds read no further
		e.texts(m.TraceID, m.SpanID)
	}
	return e.b
}

// decode undoes encode.
func decode(b []byte) (*relay.Message, error) {
	d := decoder{b: b}
	if d.number() != recordLayout {
		return nil, errDamaged
	}
	flags := d.number()
	m := &relay.Message{Report: flags&flagReport != 0}
	m.Envelope.SMTPUTF8 = flags&flagUTF8 != 0
	if flags&flagEightBit != 0 {
		m.Envelope.Body = relay.Body8BitMIME
	}
	var ret string
	d.texts(&m.ID, &m.Mail, &m.Lane, &m.Envelope.From, &m.Envelope.EnvID, &ret, &m.Client.Name,
		&m.Client.User, &m.Client.Addr, &m.MessageID, &m.Subject, &m.HeaderFrom)
	m.Envelope.Ret = relay.Ret(ret)
	for range d.count() {
		m.DKIM = append(m.DKIM, d.text())
	}
	m.Size = int64(d.number())
	m.Arrived = d.time()
	for range d.count() {
		m.Recipients = append(m.Recipients, d.recipient(m.Lane))
	}
	if len(d.b) > 0 {
		d.texts(&m.TraceID, &m.SpanID)
	}
	if d.failed {
		return nil, errDamaged
	}
	return m, nil
}

// encoder writes a record.
type encoder struct{ b []byte }

func (e *encoder) number(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) texts(list ...string) {
	for _, s := range list {
		e.number(uint64(len(s)))
		e.b = append(e.b, s...)
	}
}

// time writes a time, the zero one as 0.
func (e *encoder) time(t time.Time) { e.number(uint64(nanos(t))) }

// recipient writes a recipient and the end of its last attempt.
func (e *encoder) recipient(r *relay.Recipient, lane string) {
	flags := uint64(0)
	if a := r.Last; a != nil {
		flags |= flagLast
		if a.Uncertain {
			flags |= flagUncertain
		}
		if a.DSN {
			flags |= flagDSN
		}
	}
	e.texts(r.Address, r.ORCPT, string(r.State))
	e.number(uint64(r.Notify))
	e.number(flags)
	if a := r.Last; a != nil {
		upstream := a.Upstream
		if upstream == lane {
			upstream = ""
		}
		e.texts(upstream, a.Host, a.UpstreamID)
		e.time(a.Time)
	}
}

// decoder reads a record. Once it has failed it reads nothing but zeros.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

// count is a number of things, each of which has a byte at least.
func (d *decoder) count() uint64 {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.failed, d.b = true, nil
		return 0
	}
	return n
}

func (d *decoder) text() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) texts(list ...*string) {
	for _, s := range list {
		*s = d.text()
	}
}

func (d *decoder) time() time.Time { return timeOf(int64(d.number())) }

func (d *decoder) recipient(lane string) relay.Recipient {
	var state string
	r := relay.Recipient{}
	d.texts(&r.Address, &r.ORCPT, &state)
	r.State = relay.State(state)
	r.Notify = relay.Notify(d.number())
	flags := d.number()
	if flags&flagLast == 0 {
		return r
	}
	a := &relay.Attempt{Uncertain: flags&flagUncertain != 0, DSN: flags&flagDSN != 0}
	d.texts(&a.Upstream, &a.Host, &a.UpstreamID)
	if a.Upstream == "" {
		a.Upstream = lane
	}
	a.Time = d.time()
	r.Last = a
	return r
}
