package mailbox

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// open selects the folder: for reading only where nothing is ever changed in it.
func (s *session) open() error {
	var folder *imap.SelectData
	err := s.limited(s.o.Timeout, func() (err error) {
		readOnly := s.o.After.Action == Leave
		folder, err = s.client.Select(s.o.Folder, &imap.SelectOptions{ReadOnly: readOnly}).Wait()
		return err
	})
	if err != nil {
		return doing(fmt.Sprintf("opening folder %q", s.o.Folder), err)
	}
	if s.at.Mailbox == s.name && s.at.Validity == folder.UIDValidity {
		return nil
	}
	if s.at.Mailbox == s.name {
		s.log.Info("the server has numbered the mailbox anew: reading it from its start")
	}
	s.at = position{Mailbox: s.name, Validity: folder.UIDValidity}
	return nil
}

// scan deals with all mail that is new.
func (s *session) scan(ctx context.Context) error {
	select {
	case <-s.nudged: // whatever it told of is found now
	default:
	}
	uids, err := s.found()
	if err != nil {
		return doing("searching", err)
	}
	for _, uid := range uids {
		if err := s.one(ctx, uid); err != nil {
			return err
		}
	}
	return nil
}

// found are the UIDs of the mail that was not dealt with yet, in order.
func (s *session) found() ([]imap.UID, error) {
	if s.at.UID == math.MaxUint32 {
		return nil, nil
	}
	next := imap.UID(s.at.UID + 1)
	criteria := &imap.SearchCriteria{UID: []imap.UIDSet{{imap.UIDRange{Start: next}}}} // to "*"
	if s.at.UID == 0 && s.o.Lookback > 0 {
		// The server compares days, in a time zone of its choice (RFC 9051, 6.4.4).
		criteria.Since = s.o.Now().Add(-s.o.Lookback - 24*time.Hour)
	}
	var uids []imap.UID
	err := s.limited(s.o.Timeout, func() error {
		// A server need not show what it has not told of, and it may tell that now (RFC 9051, 7).
		if err := s.client.Noop().Wait(); err != nil {
			return err
		}
		result, err := s.client.UIDSearch(criteria, nil).Wait()
		if err == nil {
			uids = result.AllUIDs()
		}
		return err
	})
	// The range "n:*" always has the last mail in it, though its UID be below n (RFC 9051, 6.4.9).
	uids = slices.DeleteFunc(uids, func(uid imap.UID) bool { return uid < next })
	slices.Sort(uids)
	return uids, err
}

// one deals with one mail.
func (s *session) one(ctx context.Context, uid imap.UID) error {
	mail, there, err := s.fetch(uid)
	if err != nil {
		return doing("reading a mail", err)
	}
	if there { // somebody may have removed it meanwhile
		verdict, err := s.o.Take(ctx, mail)
		if err != nil {
			return doing("taking a mail", err)
		}
		if verdict == Feedback {
			if err := s.treat(uid); err != nil {
				return err
			}
		}
	}
	s.at.UID = uint32(uid)
	return writeState(s.o.StateFile, s.at)
}

// fetch reads a mail, at most MaxSize bytes of it.
func (s *session) fetch(uid imap.UID) (mail []byte, there bool, err error) {
	section := &imap.FetchItemBodySection{Peek: true,
		Partial: &imap.SectionPartial{Offset: 0, Size: s.o.MaxSize}}
	err = s.limited(10*s.o.Timeout, func() (err error) {
		fetch := s.client.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{UID: true,
			BodySection: []*imap.FetchItemBodySection{section}})
		for message := fetch.Next(); message != nil; message = fetch.Next() {
			for item := message.Next(); item != nil; item = message.Next() {
				body, ok := item.(imapclient.FetchItemDataBodySection)
				if !ok || body.Literal == nil {
					continue
				}
				if mail, err = s.content(body.Literal); err != nil {
					return err // the connection is gone: see content
				}
				there = true
			}
		}
		return fetch.Close()
	})
	return mail, there, err
}

// content reads what the server sends of a mail, whole: a connection that is cut reads as its end. After an
// error nothing may be read any more, not even by closing the command: the client's own reader has gone on.
func (s *session) content(r imap.LiteralReader) ([]byte, error) {
	want := min(r.Size(), s.o.MaxSize)
	b, err := io.ReadAll(io.LimitReader(r, want))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < want {
		return nil, io.ErrUnexpectedEOF
	}
	rest, err := io.Copy(io.Discard, r) // of a server that sends more than it was asked for
	if err == nil && want+rest < r.Size() {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
