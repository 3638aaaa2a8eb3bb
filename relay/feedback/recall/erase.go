package recall

import (
	"bytes"
	"context"
	"database/sql/driver"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
)

// Erased counts what concerns an address.
type Erased struct {
	Messages int64 // that were relayed, to it or from it
	Reports  int64 // that wait or are kept, in which it stands
	Owed     int64 // messages of which a bounce is still owed: they stay until it is sent
}

// erasePage is how much is looked at between two transactions.
const erasePage = 500

// Erase removes what concerns an address, whose case does not matter: messages that were relayed to it or
// from it, with what came back for them, and reports in which it stands. A report about other recipients of
// such a message finds it no more. With act false it counts only.
func (s *Store) Erase(ctx context.Context, address string, act bool) (e Erased, err error) {
	if err := s.Flush(ctx); err != nil {
		return e, err
	}
	messages, reports, err := s.concerning(ctx, strings.ToLower(address))
	if err != nil {
		return e, err
	}
	for len(messages) > 0 || len(reports) > 0 {
		some, more := messages[:min(len(messages), erasePage)], reports[:min(len(reports), erasePage)]
		messages, reports = messages[len(some):], reports[len(more):]
		var n Erased
		err := s.w.write(ctx, func(t *tx) (err error) {
			n, err = t.erase(some, more, act)
			return err
		})
		if err != nil {
			return e, err
		}
		e.Messages, e.Reports, e.Owed = e.Messages+n.Messages, e.Reports+n.Reports, e.Owed+n.Owed
	}
	return e, nil
}

// concerning are the numbers of the messages and reports that concern an address in lower case. All of them
// are read, a page at a time: the keys know only recipients, and no senders.
func (s *Store) concerning(ctx context.Context, address string) (messages, reports []int64, err error) {
	messages, err = s.scan(ctx, "message", func(body []byte) bool {
		m, err := decode(body)
		return err == nil && concerns(m, address)
	})
	if err != nil {
		return nil, nil, err
	}
	err = s.List(ctx, Filter{}, func(r Report) bool {
		if r.names(address) {
			reports = append(reports, r.ID)
		}
		return true
	})
	return messages, reports, err
}

// scan are the numbers of the rows of a table whose body is wanted.
func (s *Store) scan(ctx context.Context, table string, wanted func([]byte) bool) (found []int64, err error) {
	for after, n := int64(0), erasePage; n == erasePage; {
		var page []int64
		err = s.read(ctx, func(c *sqlite.Conn) error {
			page, n = nil, 0
			last := after
			err := c.QueryContext(ctx, func(row []driver.Value) error {
				n++
				seq, _ := row[0].(int64)
				body, _ := row[1].([]byte)
				last = seq
				if wanted(body) {
					page = append(page, seq)
				}
				return nil
			}, "SELECT seq, body FROM "+table+" WHERE seq>? ORDER BY seq LIMIT ?", after, int64(erasePage))
			if err == nil {
				after = last
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		found = append(found, page...)
	}
	return found, nil
}

// concerns reports whether an address in lower case is the sender of a message or among its recipients.
func concerns(m *relay.Message, address string) bool {
	if strings.ToLower(m.Envelope.From) == address {
		return true
	}
	for i := range m.Recipients {
		if strings.ToLower(m.Recipients[i].Address) == address {
			return true
		}
	}
	return false
}

// names reports whether an address in lower case stands in a report.
func (r *Report) names(address string) bool {
	in := func(b []byte) bool { return bytes.Contains(bytes.ToLower(b), []byte(address)) }
	switch {
	case r.Raw != nil && in(r.Raw.Body):
		return true
	case r.Event == nil:
		return false
	}
	return strings.ToLower(r.Event.Recipient) == address || in(r.Event.Raw) || in([]byte(r.Event.Reply))
}

// erase removes messages and reports, or counts them.
func (t *tx) erase(messages, reports []int64, act bool) (e Erased, err error) {
	for _, seq := range messages {
		_, owed, err := t.Integer("SELECT 1 FROM owed WHERE message=? LIMIT 1", seq)
		switch {
		case err != nil:
			return e, err
		case owed:
			e.Owed++
			continue
		}
		e.Messages++
		if !act {
			continue
		}
		n, err := t.forget("seq=?", seq, 1)
		if err != nil {
			return e, err
		}
		e.Messages += n - 1 // it may have gone meanwhile
	}
	for _, seq := range reports {
		e.Reports++
		if !act {
			continue
		}
		n, err := t.dropReports("?", seq)
		if err != nil {
			return e, err
		}
		e.Reports += n - 1
	}
	return e, nil
}
