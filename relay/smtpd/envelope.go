package smtpd

import (
	"errors"
	"strconv"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/internal/xtext"
	"mailwhy/relay/smtpd/refusal"
)

// path is what a MAIL or RCPT command contains.
type path struct {
	raw       string          // as the client wrote it
	address   string          // "" is the null sender
	completed bool            // with Options.Domain
	size      int64           // MAIL: as declared (RFC 1870, 5)
	envelope  relay.Envelope  // MAIL
	recipient relay.Recipient // RCPT
}

// Lengths of RFC 3461, 4.2 and 4.4, and of RFC 1870, 5.
const (
	maxENVID      = 100
	maxORCPT      = 500
	maxSizeDigits = 20
)

// param is a parameter of MAIL or RCPT, with its keyword in upper case.
type param struct {
	key, value string
	hasValue   bool
}

// parseMail reads the arguments of MAIL into pending.
func (s *session) parseMail(args string) error {
	s.pending = path{}
	raw, params, err := parsePath(args, "FROM:", s.lenient())
	s.pending.raw = raw
	if err != nil {
		s.pending.raw = args
		return err
	}
	for _, p := range params {
		if err := s.mailParam(p); err != nil {
			return err
		}
	}
	p := &s.pending
	if raw == "" { // RFC 5321, 4.5.5
		return nil
	}
	addr, err := s.parseAddress(raw, p.envelope.SMTPUTF8, "sender")
	p.address, p.envelope.From = addr, addr
	return err
}

// mailParam reads one parameter of MAIL.
func (s *session) mailParam(p param) error {
	e := &s.pending.envelope
	value := strings.ToUpper(p.value)
	switch {
	case p.key == "SIZE" && p.hasValue:
		return s.sizeParam(p.value)
	case p.key == "BODY" && (value == string(relay.Body7Bit) || value == string(relay.Body8BitMIME)):
		e.Body = relay.Body(value)
	case p.key == "BODY" && value == "BINARYMIME":
		return refusal.New("parameter_unknown", "BODY=BINARYMIME")
	case p.key == "SMTPUTF8" && !p.hasValue:
		e.SMTPUTF8 = true
	case p.key == "RET" && (value == string(relay.RetFull) || value == string(relay.RetHeaders)):
		e.Ret = relay.Ret(value)
	case p.key == "ENVID" && p.hasValue:
		id, err := xtext.Decode(p.value)
		if err != nil || len(p.value) > maxENVID || !printable(id) { // RFC 3461, 4.4
			return refusal.New("parameter_syntax", "ENVID")
		}
		e.EnvID = id
	case p.key == "AUTH" && p.hasValue: // RFC 4954, 5: accepted, and ignored
		if who, err := xtext.Decode(p.value); err != nil || clean.Hides(who) {
			return refusal.New("parameter_syntax", "AUTH")
		}
	case p.key == "BODY", p.key == "SMTPUTF8", p.key == "RET", p.key == "SIZE", p.key == "ENVID",
		p.key == "AUTH":
		return refusal.New("parameter_syntax", p.key)
	default:
		return refusal.New("parameter_unknown", p.key) // RFC 5321, 4.1.1.11
	}
	return nil
}

// sizeParam reads SIZE. A number that overflows is larger than any limit.
func (s *session) sizeParam(value string) error {
	if strings.Trim(value, "0123456789") != "" || value == "" || len(value) > maxSizeDigits {
		return refusal.New("parameter_syntax", "SIZE")
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return refusal.New("parameter_syntax", "SIZE")
	}
	s.pending.size = n // on ErrRange, the largest int64
	return nil
}

// parseRcpt reads the arguments of RCPT into pending. A transaction must be open.
func (s *session) parseRcpt(args string) error {
	s.pending = path{}
	raw, params, err := parsePath(args, "TO:", s.lenient())
	s.pending.raw = raw
	if err != nil {
		s.pending.raw = args
		return err
	}
	if raw == "" {
		return refusal.New("recipient_syntax", "", "it is empty")
	}
	for _, p := range params {
		if err := s.rcptParam(p); err != nil {
			return err
		}
	}
	if strings.EqualFold(raw, "postmaster") { // RFC 5321, 4.5.1
		raw = s.options.Postmaster
	}
	addr, err := s.parseAddress(raw, s.tx.envelope.SMTPUTF8, "recipient")
	s.pending.address, s.pending.recipient.Address = addr, addr
	return err
}

// parseAddress reads an address, and completes one without a domain for a known client. whose is as in
// addressError.
func (s *session) parseAddress(raw string, smtputf8 bool, whose string) (string, error) {
	if !strings.Contains(raw, "@") || strings.HasSuffix(raw, `"`) {
		if s.network == nil || s.options.Domain == "" {
			return "", refusal.New(whose+"_domain_missing", raw)
		}
		raw += "@" + s.options.Domain
		s.pending.completed = true
	}
	addr, err := address.Parse(raw, smtputf8)
	if err != nil {
		return "", addressError(raw, err, whose)
	}
	return addr, nil
}

// rcptParam reads one parameter of RCPT.
func (s *session) rcptParam(p param) error {
	r := &s.pending.recipient
	switch p.key {
	case "NOTIFY":
		set, ok := parseNotify(p.value)
		if !ok {
			return refusal.New("parameter_syntax", "NOTIFY")
		}
		r.Notify = set
	case "ORCPT":
		_, original, err := xtext.ORCPT(p.value)
		nonASCII := !address.IsASCII(p.value) && !s.tx.envelope.SMTPUTF8
		if err != nil || nonASCII || clean.Hides(original) || len(p.value) > maxORCPT {
			return refusal.New("parameter_syntax", "ORCPT")
		}
		r.ORCPT = p.value // unchanged (RFC 3461, 5.2.1d)
	default:
		return refusal.New("parameter_unknown", p.key)
	}
	return nil
}

// parseNotify reads the value of NOTIFY (RFC 3461, 4.1).
func parseNotify(value string) (set relay.Notify, ok bool) {
	for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
		var n relay.Notify
		switch word {
		case "NEVER":
			n = relay.NotifyNever
		case "SUCCESS":
			n = relay.NotifySuccess
		case "FAILURE":
			n = relay.NotifyFailure
		case "DELAY":
			n = relay.NotifyDelay
		}
		if n == 0 || set&n != 0 {
			return 0, false
		}
		set |= n
	}
	return set, set&relay.NotifyNever == 0 || set == relay.NotifyNever
}

// parsePath reads "FROM:<path> parameters" or "TO:<path> parameters" (RFC 5321, 4.1.2). It skips a source
// route (RFC 5321, 4.1.1.3). If lenient, the brackets may be missing.
func parsePath(args, prefix string, lenient bool) (raw string, params []param, err error) {
	word, rest, _ := strings.Cut(args, ":")
	if lenient {
		word = strings.TrimRight(word, " ")
	}
	rest = strings.TrimLeft(rest, " ")
	end := pathEnd(rest)
	switch {
	case !strings.EqualFold(word+":", prefix), lenient && rest == "":
		return "", nil, refusal.New("path_expected", prefix, args)
	case end >= 0:
		raw, rest = rest[1:end], rest[end+1:]
	case lenient && rest != "" && rest[0] != '<':
		raw, rest, _ = strings.Cut(rest, " ")
		rest = " " + rest
	default:
		return "", nil, refusal.New("brackets", prefix)
	}
	inner := strings.Trim(raw, " <")
	switch {
	case lenient:
		raw, rest = inner, strings.TrimLeft(rest, ">")
	case raw != inner:
		return "", nil, refusal.New("inner_brackets", raw)
	}
	if rest != "" && rest[0] != ' ' {
		return "", nil, refusal.New("text_after_address", rest)
	}
	if strings.HasPrefix(raw, "@") {
		_, after, found := strings.Cut(raw, ":")
		if !found {
			return "", nil, refusal.New("recipient_syntax", raw, "a colon must follow the source route")
		}
		raw = after
	}
	params, err = parseParams(rest)
	return raw, params, err
}

// pathEnd is the index of the bracket that closes the path at the start of s; -1 if there is none. Brackets
// in a quoted string do not count.
func pathEnd(s string) int {
	if !strings.HasPrefix(s, "<") {
		return -1
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// parseParams reads the parameters after a path (RFC 5321, 4.1.2). A duplicate is an error.
func parseParams(s string) ([]param, error) {
	var params []param
	for _, word := range strings.Fields(s) {
		key, value, hasValue := strings.Cut(word, "=")
		p := param{key: strings.ToUpper(key), value: value, hasValue: hasValue}
		if !isKeyword(p.key) || strings.Contains(value, "=") || hasValue && value == "" {
			return nil, refusal.New("parameter_syntax", word)
		}
		for _, have := range params {
			if have.key == p.key {
				return nil, refusal.New("parameter_syntax", p.key)
			}
		}
		params = append(params, p)
	}
	return params, nil
}

// isKeyword reports whether s is an esmtp-keyword in upper case.
func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (c != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// addressError is the refusal of an address that address.Parse refused: of a "sender" or a "recipient" (RFC
// 3463, 3.2).
func addressError(raw string, err error, whose string) error {
	if errors.Is(err, address.ErrNonASCII) {
		return refusal.New("needs_smtputf8", raw) // RFC 6531, 3.5
	}
	return refusal.New(whose+"_syntax", raw, address.Why(err))
}
