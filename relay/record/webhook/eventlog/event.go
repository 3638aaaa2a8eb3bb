package eventlog

import (
	"encoding/binary"
	"errors"
	"time"
)

// Event is one event as it is kept.
type Event struct {
	ID       string    // the same wherever and however often the same event is told
	Type     string    // as receivers see it
	Kind     string    // name in the delivery log; "" for what is only for one endpoint
	Category string    // of the diagnosis; "" without one
	Client   string    // whose mail it is about: the network
	User     string    // ... and who had authenticated
	Order    string    // events with the same one are told in their order; "" is in no order
	Time     time.Time // when it happened
	Data     []byte    // JSON
}

// errEvent is returned for bytes that hold no event.
var errEvent = errors.New("not an event")

// Append appends e in its stored form.
func (e *Event) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	for _, s := range []string{e.ID, e.Type, e.Kind, e.Category, e.Client, e.User, e.Order} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return append(b, e.Data...)
}

// Decode reads what Append wrote. Data is part of b.
func Decode(b []byte) (e Event, err error) {
	if len(b) < 8 {
		return e, errEvent
	}
	e.Time, b = time.Unix(0, int64(binary.LittleEndian.Uint64(b))), b[8:]
	texts := [...]*string{&e.ID, &e.Type, &e.Kind, &e.Category, &e.Client, &e.User, &e.Order}
	var from, to [len(texts)]int
	at := 0
	for i := range texts {
		n, used := binary.Uvarint(b[at:])
		if used <= 0 || n > uint64(len(b)-at-used) {
			return Event{}, errEvent
		}
		from[i] = at + used
		to[i] = from[i] + int(n)
		at = to[i]
	}
	all := string(b[:at]) // one allocation for all of them
	for i, p := range texts {
		*p = all[from[i]:to[i]]
	}
	e.Data = b[at:]
	return e, nil
}
