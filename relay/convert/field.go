package convert

import (
	"bytes"
	stdbase64 "encoding/base64"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// unknownCharset is the name for bytes of which nobody says what they are (RFC 1428, 3).
const unknownCharset = "unknown-8bit"

// encodeHeader encodes the fields of a header that have 8-bit bytes.
func encodeHeader(h []byte) (out []byte, err error) {
	eachField(h, func(name string, field []byte) {
		if err == nil && !ascii(field) {
			field, err = encodeField(name, field)
		}
		out = append(out, field...)
	})
	return out, err
}

// encodeField encodes one field: addresses and texts by RFC 2047, parameters by RFC 2231.
func encodeField(name string, field []byte) ([]byte, error) {
	before, _, _ := bytes.Cut(field, []byte(":"))
	if name == "" || !ascii(before) {
		return nil, &Error{"a line of a header that is no field has 8-bit bytes"}
	}
	value := unfolded(field)
	var err error
	switch {
	case isAddresses(name):
		value, err = encodeAddresses(value)
	case name == "received":
		value = encodeTrace(value)
	case name == "content-type" || name == "content-disposition":
		value, err = encodeParameters(value)
	default:
		value = encodeText(value)
	}
	if err != nil {
		return nil, err
	}
	return fold(string(before)+":", value), nil
}

// isAddresses reports whether a field holds addresses (RFC 5322, 3.6.2, 3.6.3 and 3.6.6).
func isAddresses(name string) bool {
	switch strings.TrimPrefix(name, "resent-") {
	case "from", "sender", "reply-to", "to", "cc", "bcc", "return-path", "disposition-notification-to",
		"return-receipt-to", "errors-to", "mail-followup-to", "mail-reply-to":
		return true
	}
	return false
}

// encodeTrace encodes a Received field, whose comments are like those of addresses (RFC 5321, 4.4).
func encodeTrace(value string) string {
	if encoded, err := encodeAddresses(value); err == nil {
		return encoded
	}
	return encodeText(value) // nobody is sent anything for what it says
}

// encodeParameters encodes the parameters of a type (RFC 2231, 4).
func encodeParameters(value string) (string, error) {
	full, params := readType(value)
	for name := range params {
		if strings.Contains(name, "*") {
			return "", errParameters // it says more than its name and text (RFC 2231, 3 and 4)
		}
	}
	if value = mime.FormatMediaType(full, params); value != "" && ascii(value) {
		return value, nil
	}
	return "", errParameters
}

// errParameters is why the parameters of a type cannot be encoded.
var errParameters = &Error{"the parameters of a Content- field have 8-bit bytes and cannot be read"}

// encodeText encodes those words of a text that have 8-bit bytes. Words that are encoded already stay, and so
// do the blanks: those between two encoded words do not count (RFC 2047, 6.2), so they are encoded with them.
func encodeText(text string) string {
	var out strings.Builder
	words := splitBlanks(text)
	for i := 0; i < len(words); i++ {
		if ascii(words[i]) {
			out.WriteString(words[i])
			continue
		}
		run := words[i]
		if i >= 2 && isEncodedWord(words[i-2]) {
			run = words[i-1] + run
		}
		for i+2 < len(words) && !ascii(words[i+2]) {
			run, i = run+words[i+1]+words[i+2], i+2
		}
		if i+2 < len(words) && isEncodedWord(words[i+2]) {
			run += words[i+1]
		}
		out.WriteString(encodedWords(strings.ReplaceAll(run, "\t", " "))) // they are of folded lines
	}
	return out.String()
}

// splitBlanks splits a text into words, at even places, and the blanks between them.
func splitBlanks(text string) []string {
	var list []string
	for blank := false; text != ""; blank = !blank {
		n := strings.IndexFunc(text, func(r rune) bool { return (r == ' ' || r == '\t') != blank })
		if n < 0 {
			n = len(text)
		}
		list, text = append(list, text[:n]), text[n:]
	}
	return list
}

// isEncodedWord reports whether readers decode a word.
func isEncodedWord(s string) bool {
	if !strings.HasPrefix(s, "=?") {
		return false
	}
	d := mime.WordDecoder{CharsetReader: func(_ string, in io.Reader) (io.Reader, error) { return in, nil }}
	_, err := d.Decode(s)
	return err == nil
}

// maxUnknown is how many bytes of unknownCharset an encoded word has room for (RFC 2047, 2: it has 75
// characters at most).
const maxUnknown = (75 - len("=?"+unknownCharset+"?b??=")) / 4 * 3

// encodedWords is a text as encoded words (RFC 2047, 2), in base64: they may stand anywhere.
func encodedWords(text string) string {
	if utf8.ValidString(text) {
		return mime.BEncoding.Encode("utf-8", text)
	}
	var words []string
	for piece := range slices.Chunk([]byte(text), maxUnknown) {
		words = append(words, "=?"+unknownCharset+"?b?"+stdbase64.StdEncoding.EncodeToString(piece)+"?=")
	}
	return strings.Join(words, " ")
}

// maxFolded is where lines are folded (RFC 5322, 2.1.1).
const maxFolded = 78

// fold writes a field, on several lines if it is long.
func fold(name, value string) []byte {
	out := []byte(name)
	at := len(name)
	blank := " "
	for i, s := range splitBlanks(value) {
		if i%2 == 1 {
			blank = s
			continue
		}
		if at+len(blank)+len(s) > maxFolded && at > len(name) {
			out = append(out, "\r\n"...)
			at = 0
		}
		out = append(append(out, blank...), s...)
		at += len(blank) + len(s)
	}
	return append(out, "\r\n"...)
}
