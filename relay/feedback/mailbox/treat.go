package mailbox

import (
	"errors"

	"github.com/emersion/go-imap/v2"
)

// treat does with feedback what After says. What the server refuses to do is told and left: the mail has been
// taken.
func (s *session) treat(uid imap.UID) error {
	err := s.limited(s.o.Timeout, func() error {
		set := imap.UIDSetNum(uid)
		switch s.o.After.Action {
		case Seen:
			return s.flag(set, imap.FlagSeen)
		case Move:
			return s.move(set)
		case Delete:
			return s.remove(set)
		}
		return nil
	})
	if refused := (*imap.Error)(nil); errors.As(err, &refused) {
		s.log.Warn("a mail that was taken stays as it is", "after", s.o.After.Action, "uid", uid,
			"err", s.public(err))
		return nil
	} else if err != nil {
		return doing("after taking a mail", err)
	}
	return nil
}

// flag sets a flag.
func (s *session) flag(set imap.UIDSet, flag imap.Flag) error {
	return s.client.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true,
		Flags: []imap.Flag{flag}}, nil).Close()
}

// move moves mail to the folder, which it makes if need be.
func (s *session) move(set imap.UIDSet) error {
	err := s.moveOnce(set)
	said := (*imap.Error)(nil)
	if !errors.As(err, &said) || said.Code != imap.ResponseCodeTryCreate &&
		said.Code != imap.ResponseCodeNonExistent {
		return err
	}
	if err := s.client.Create(s.o.After.Folder, nil).Wait(); err != nil {
		return err
	}
	return s.moveOnce(set)
}

// moveOnce moves mail (RFC 6851). The library's own way without MOVE is not used: it may expunge all that
// has been marked as deleted, also by a person.
func (s *session) moveOnce(set imap.UIDSet) error {
	if s.client.Caps().Has(imap.CapMove) {
		_, err := s.client.Move(set, s.o.After.Folder).Wait()
		return err
	}
	if _, err := s.client.Copy(set, s.o.After.Folder).Wait(); err != nil {
		return err
	}
	return s.remove(set)
}

// remove deletes mail, and no other (RFC 4315, 2.1). A server without that command gets the mail marked as
// deleted; it goes when somebody expunges the folder.
func (s *session) remove(set imap.UIDSet) error {
	if err := s.flag(set, imap.FlagDeleted); err != nil {
		return err
	}
	if s.client.Caps().Has(imap.CapUIDPlus) {
		return s.client.UIDExpunge(set).Close()
	}
	if !s.warned {
		s.warned = true
		s.log.Info("the server cannot remove single mails (no UIDPLUS): they are marked as deleted only")
	}
	return nil
}
