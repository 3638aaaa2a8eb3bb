package bounce

import (
	"bytes"
	"html"
	"strings"
)

// Key is something in a mail by which the message that it is about can be found.
type Key struct {
	Kind  KeyKind
	Value string // a Message-ID without its angle brackets
	Host  string // who wrote the Received field, for a queue id; as it is written
	Where Where
}

// KeyKind is what a key is.
type KeyKind string

// The kinds of keys, the strongest first.
const (
	KeyQueueID    KeyKind = "queue_id"    // of a Received field that mailwhy wrote, or of a report of ours
	KeyEnvelopeID KeyKind = "envelope_id" // Original-Envelope-Id (RFC 3464, 2.2.1; RFC 5965, 3.2)
	KeyMessageID  KeyKind = "message_id"  // Message-ID (RFC 5322, 3.6.4)
)

// Where is the place of a key in a mail. None of them proves anything: whoever wrote the mail wrote it all.
type Where string

// The places.
const (
	WhereStatus    Where = "status"    // in a delivery status or a feedback report
	WhereOriginal  Where = "original"  // in a part that holds the message that came back
	WhereBody      Where = "body"      // anywhere else in the body
	WhereReference Where = "reference" // what the mail says that it answers, in its own header
)

// ourSoftware is the comment in the Received fields of a mailwhy, behind its name (RFC 5321, 4.4).
const ourSoftware = "(mailwhy)"

// findKeys looks for keys in the whole body, not only in the parts that are made for them: many mailers
// return the message as text, with boundaries that never occur, or behind the last one. The mail's own fields
// are about itself and are left out, but for those that say what it answers.
func (d *document) findKeys(root *part) []Key {
	k := keyFinder{doc: d, seen: map[Key]bool{}, count: map[KeyKind]int{}}
	k.raw(root)
	for _, name := range [...]string{"In-Reply-To", "References"} {
		k.references(root.fields.line(name))
	}
	return k.list
}

// keyFinder gathers keys.
type keyFinder struct {
	doc   *document
	list  []Key
	seen  map[Key]bool // by kind and value alone
	count map[KeyKind]int
}

// raw looks through the body of a part as it stands in the file, with what is encoded in it decoded.
func (k *keyFinder) raw(p *part) {
	at := p.start
	for _, s := range p.spans(nil, WhereBody) {
		k.text(p.file[at:s.part.start], WhereBody)
		at = s.part.end
		k.span(s)
	}
	k.text(p.file[min(at, p.end):p.end], WhereBody)
}

// span looks through a part that is looked through by itself.
func (k *keyFinder) span(s span) {
	switch b := s.part.body(); {
	case s.part.kind == "text/html":
		k.text([]byte(s.part.text()), s.where)
	case s.part.encoding() == "":
		k.text(b, s.where)
	default:
		plain, err := s.part.decode(b)
		k.text(inLines(plain), s.where)
		if err != nil { // it may not be encoded as it says
			k.text(b, s.where)
		}
	}
}

// span is a part that is looked through by itself.
type span struct {
	part  *part
	where Where
}

// spans appends the parts of p, in their order, that are in another place or in another encoding than what is
// around them. Those in something encoded come with it.
func (p *part) spans(list []span, where Where) []span {
	here := where
	switch {
	case p.isStatus(), p.isFeedback():
		here = WhereStatus
	case p.isMessage(), p.isHeader():
		here = WhereOriginal
	}
	if here != where || p.kind == "text/html" || p.encoding() != "" && !p.isMultipart() {
		return append(list, span{p, here})
	}
	for i := range p.parts {
		list = p.parts[i].spans(list, where)
	}
	return list
}

// references adds what the mail says that it answers (RFC 5322, 3.6.4).
func (k *keyFinder) references(value string) {
	for word := range strings.FieldsSeq(value) {
		k.add(Key{Kind: KeyMessageID, Value: identifier(word), Where: WhereReference})
	}
}

// text looks through lines.
func (k *keyFinder) text(b []byte, where Where) {
	for at := 0; at < len(b); {
		next := k.doc.lineEnd(b, at, len(b))
		line := unquoted(b[at:min(next, at+maxKey)])
		at = next
		kind := keyField(line)
		if kind == "" {
			continue
		}
		var folded string
		folded, at = k.unfold(line, b, at)
		_, value, _ := strings.Cut(folded, ":")
		k.field(kind, strings.TrimSpace(value), where)
	}
}

// unfold is a field with the lines that belong to it (RFC 5322, 2.2.3), and where the next line stands.
func (k *keyFinder) unfold(first, b []byte, at int) (string, int) {
	field := bytes.Clone(first)
	if bytes.HasSuffix(field, []byte("=")) && bytes.Contains(field, []byte("<")) && at < len(b) {
		next := k.doc.lineEnd(b, at, len(b)) // a soft line break (RFC 2045, 6.7) in what is not decoded
		field = append(field[:len(field)-1], bytes.TrimSpace(b[at:min(next, at+maxKey)])...)
		at = next
	}
	for at < len(b) && len(field) < maxKey {
		next := k.doc.lineEnd(b, at, len(b))
		line := bytes.TrimLeft(b[at:min(next, at+maxKey)], ">")
		rest := bytes.TrimSpace(line)
		if len(rest) == 0 || line[0] != ' ' && line[0] != '\t' {
			break
		}
		if keyField(unquoted(line)) != "" { // of a quotation, where each line begins with a space
			break
		}
		field = append(append(field, ' '), rest...)
		at = next
	}
	return shortened(string(field), maxKey), at
}

// unquoted is a line without the marks of a quotation in front of it.
func unquoted(line []byte) []byte {
	return bytes.TrimRight(bytes.TrimLeft(line, " \t>|*"), " \t\r\n")
}

// keyField is the name, in lower case, of the field that a line begins, or "" when no key stands in it.
func keyField(line []byte) string {
	for _, name := range [...]string{"message-id", "received", "original-envelope-id", "x-mailwhy-queue-id"} {
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) &&
			bytes.HasPrefix(bytes.TrimLeft(line[len(name):], " \t*"), []byte(":")) {
			return name
		}
	}
	return ""
}

// field adds the key in a field's value, if there is one.
func (k *keyFinder) field(name, value string, where Where) {
	key := Key{Where: where}
	switch name {
	case "received":
		key.Kind = KeyQueueID
		key.Value, key.Host = ReceivedID(value)
	case "message-id":
		key.Kind, key.Value = KeyMessageID, identifier(value)
	case "x-mailwhy-queue-id":
		key.Kind, key.Value = KeyQueueID, firstWord(value)
	default:
		key.Kind, key.Value = KeyEnvelopeID, strings.TrimSpace(value)
	}
	k.add(key)
}

// add adds a key, unless it has been found before.
func (k *keyFinder) add(key Key) {
	same := Key{Kind: key.Kind, Value: key.Value}
	if key.Value == "" || len(key.Value) > maxName || k.count[key.Kind] >= maxKeys || k.seen[same] {
		return
	}
	k.seen[same] = true
	k.count[key.Kind]++
	k.list = append(k.list, key)
}

// ReceivedID takes from the value of a Received field that a mailwhy wrote its queue id and its host: "from a
// by HOST (mailwhy) with ESMTP id ID". Both are empty for a field of anybody else.
func ReceivedID(received string) (id, host string) {
	before, after, found := strings.Cut(received, " "+ourSoftware)
	if !found {
		return "", ""
	}
	words := strings.Fields(before)
	if n := len(words); n < 2 || !strings.EqualFold(words[n-2], "by") {
		return "", ""
	}
	host = words[len(words)-1]
	after, _, _ = strings.Cut(after, ";")
	words = strings.Fields(after)
	for i := 0; i+1 < len(words); i++ {
		if strings.EqualFold(words[i], "id") {
			return words[i+1], host
		}
	}
	return "", ""
}

// identifier is a Message-ID without its angle brackets, which some leave out.
func identifier(value string) string {
	if strings.Contains(value, "&lt;") {
		value = html.UnescapeString(value)
	}
	if _, rest, found := strings.Cut(value, "<"); found {
		id, _, _ := strings.Cut(rest, ">")
		return strings.Join(strings.Fields(id), "") // it may have been folded where it must not be
	}
	if word := firstWord(value); !strings.Contains(word, ":") { // else a list, as of a DKIM signature
		return strings.Trim(word, "[]();,>")
	}
	return ""
}

// firstWord is the first word of a value.
func firstWord(value string) string {
	for word := range strings.FieldsSeq(value) {
		return word
	}
	return ""
}
