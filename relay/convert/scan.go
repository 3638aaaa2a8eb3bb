package convert

import (
	"fmt"
	"unicode/utf8"
)

// maxLine is the longest line without its end (RFC 5321, 4.5.3.1.6).
const maxLine = 998

// action is what is done to a part.
type action struct {
	header bool     // its header has 8-bit bytes, or says what is no longer so
	to     encoding // the encoding that its body gets; "" for the one that it has
	utf8   bool     // its body is UTF-8, where it does not say what it is
}

// scan is the visitor that finds out what has to be done.
type scan struct {
	needs Needs
	parts []action // by number
	found bool     // something has to be done
	loose []*part  // multiparts with 8-bit bytes before their first part

	line  int    // bytes of the body's line so far
	long  bool   // a line of the body is too long
	eight bool   // the body has 8-bit bytes
	valid bool   // the body is UTF-8 so far
	rest  []byte // an unfinished character
}

func (s *scan) header(p *part, h []byte) error {
	s.parts = append(s.parts, action{})
	s.line, s.long, s.eight, s.valid, s.rest = 0, false, false, true, nil
	if !s.needs.SevenBit || ascii(h) {
		return nil
	}
	if p.frozen {
		return errFrozen
	}
	if _, err := encodeHeader(h); err != nil {
		return err
	}
	s.found, s.parts[p.n].header = true, true
	return nil
}

func (s *scan) body(_ *part, b []byte) error {
	s.line += len(b)
	s.long = s.long || s.line > maxLine
	if !ascii(b) || len(s.rest) > 0 {
		s.eight = true
		s.checkUTF8(b)
	}
	return nil
}

// checkUTF8 goes on looking whether the body is UTF-8. A character may be cut in two by the end of a piece.
func (s *scan) checkUTF8(b []byte) {
	b = append(s.rest, b...)
	s.rest = nil
	for len(b) > 0 && s.valid {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			if !utf8.FullRune(b) {
				s.rest = append([]byte(nil), b...)
				return
			}
			s.valid = false
		}
		b = b[n:]
	}
}

func (s *scan) lineEnd(_ *part, _ []byte) error {
	s.line = 0
	s.valid, s.rest = s.valid && len(s.rest) == 0, nil
	return nil
}

func (s *scan) ended(p *part) error {
	s.valid = s.valid && len(s.rest) == 0
	eight, long := s.eight && s.needs.SevenBit, s.long && s.needs.LongLines
	if !eight && !long {
		return nil
	}
	a := &s.parts[p.n]
	switch {
	case p.frozen:
		return errFrozen
	case p.encoded == quotedPrintable, p.encoded == base64:
		a.to = p.encoded // what does not belong there is taken out, and lines are broken
	case p.whole:
		return &Error{"a part of the type message or multipart has to be encoded, which is not allowed"}
	case p.encoded != sevenBit && p.encoded != eightBit && p.encoded != binary:
		return &Error{fmt.Sprintf("the encoding %.40q of a part is not known", string(p.encoded))}
	case p.text:
		a.to = quotedPrintable
	default:
		a.to = base64
	}
	a.utf8, s.found = s.valid, true
	return nil
}

func (s *scan) around(p *part, b []byte, boundary bool) error {
	if !s.needs.SevenBit || ascii(b) {
		return nil
	}
	if p.frozen || boundary {
		return errFrozen
	}
	s.found = true
	if p.parts == 0 {
		s.loose = append(s.loose, p)
	}
	return nil
}

// finish is called at the end of the content.
func (s *scan) finish() error {
	for _, p := range s.loose {
		if p.parts == 0 { // readers show its text, so it must not be thrown away
			return &Error{"a multipart with 8-bit bytes has no part"}
		}
	}
	return nil
}

// errFrozen is why a signed content cannot be converted.
var errFrozen = &Error{"a part that is signed would have to change"}
