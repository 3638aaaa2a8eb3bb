package dnsclient

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is what a server sent.
type reply struct {
	id        uint16
	questions []dnsmessage.Question
	truncated bool
	code      dnsmessage.RCode
	records   []record
}

// record is a record of the answer, with a body only if it is of a type that can be asked for.
type record struct {
	name string // in lower case, without the final dot
	t    Type
	body dnsmessage.ResourceBody
}

// to reports whether r is a reply to q. Servers that could not read a question may leave it out.
func (r *reply) to(q *question) bool {
	if r.id != q.id || len(r.questions) != 1 {
		return r.id == q.id && len(r.questions) == 0 && r.code != dnsmessage.RCodeSuccess
	}
	is := r.questions[0]
	return is.Type == q.Type && is.Class == q.Class && strings.EqualFold(is.Name.String(), q.Name.String())
}

// parse reads a reply. It returns none where the header or the question cannot be read; with an error that
// comes later, it returns what it has read until then.
func parse(message []byte) (*reply, error) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return nil, err
	}
	if !h.Response {
		return nil, errors.New("the server sent a question")
	}
	r := &reply{id: h.ID, truncated: h.Truncated, code: h.RCode}
	if r.questions, err = p.AllQuestions(); err != nil {
		return nil, err
	}
	if r.truncated { // it is asked for again, and this one may end anywhere
		return r, nil
	}
	if err := r.answers(&p); err != nil {
		return r, err
	}
	return r, r.extend(&p)
}

// answers reads the records of the answer section. A record whose content is a name that has no form in text,
// such as one with a dot within a label, is left out: it leads nowhere.
func (r *reply) answers(p *dnsmessage.Parser) error {
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		} else if err != nil {
			return err
		}
		rec := record{name: plain(h.Name.String()), t: Type(h.Type)}
		if h.Class == dnsmessage.ClassINET {
			rec.body = body(p, h.Type)
		}
		if rec.body != nil {
			r.records = append(r.records, rec)
		} else if err := p.SkipAnswer(); err != nil {
			return err
		}
	}
}

// body reads a record of a type that can be asked for. For others, and for what it cannot read, it is nil,
// and p stands where it stood.
func body(p *dnsmessage.Parser, t dnsmessage.Type) dnsmessage.ResourceBody {
	switch t {
	case dnsmessage.TypeA:
		return read(p.AResource())
	case dnsmessage.TypeAAAA:
		return read(p.AAAAResource())
	case dnsmessage.TypeCNAME:
		return read(p.CNAMEResource())
	case dnsmessage.TypeMX:
		return read(p.MXResource())
	case dnsmessage.TypeTXT:
		return read(p.TXTResource())
	case dnsmessage.TypePTR:
		return read(p.PTRResource())
	}
	return nil
}

// read is a pointer to the body, or nil with an error.
func read[R any, B interface {
	*R
	dnsmessage.ResourceBody
}](r R, err error) dnsmessage.ResourceBody {
	if err != nil {
		return nil
	}
	return B(&r)
}

// extend adds the upper bits of the code, which stand in the OPT record (RFC 6891, 6.1.3).
func (r *reply) extend(p *dnsmessage.Parser) error {
	if err := p.SkipAllAuthorities(); err != nil {
		return err
	}
	for {
		h, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		} else if err != nil {
			return err
		}
		if h.Type == dnsmessage.TypeOPT {
			r.code = h.ExtendedRCode(r.code)
		}
		if err := p.SkipAdditional(); err != nil {
			return err
		}
	}
}

// codeName is the name that operators know a code by: SERVFAIL (RFC 6895, 2.3).
func codeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return "RCODE " + strconv.Itoa(int(c))
}
