package graph

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/mail"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/upstream/httpapi"
)

// maxHeader bounds the header that is read into memory.
const maxHeader = 1 << 20

// keptPrefix is put before the name of a To or Cc field that had to give way.
const keptPrefix = "X-Mailwhy-"

// rewritten is the header of m, the empty line included, as Graph must see it, and the length of the one that
// it replaces. Graph sends to everybody whom To, Cc and Bcc name, so that afterwards they name exactly m.To:
//
//   - Every Bcc field is left out. One is added for those of m.To whom To and Cc do not name. Graph removes
//     it.
//   - A To or Cc field that names nobody but members of m.To stays as it is, byte for byte.
//   - One that names others, who get the mail another way or not at all, or that cannot be read, names only
//     the members of m.To then. It is kept under the name X-Mailwhy-To or X-Mailwhy-Cc.
func rewritten(m *httpapi.Mail) (head []byte, length int64, err error) {
	fields, length, err := header(m)
	if err != nil {
		return nil, 0, err
	}
	left := map[string]string{} // recipients whom no field names, by the form in which they are compared
	for _, to := range m.To {
		left[fold(to)] = to
	}
	all := len(left)
	var b, moved bytes.Buffer
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "Bcc"):
		case strings.EqualFold(name, "To"), strings.EqualFold(name, "Cc"):
			name = strings.ToUpper(name[:1]) + strings.ToLower(name[1:])
			b.WriteString(limited(f, name, value, m.To, left, &moved))
		default:
			b.WriteString(f)
		}
	}
	b.Write(moved.Bytes())
	if len(left) > 0 {
		b.WriteString(list("Bcc", remaining(m.To, left)))
	}
	if all == 0 {
		return nil, 0, &httpapi.Outcome{Stage: diagnose.StageRcpt, Class: 5, Reason: "bad_address_syntax",
			Text: "there is no recipient"}
	}
	b.WriteString("\r\n")
	return b.Bytes(), length, nil
}

// limited is a To or Cc field that names only members of to; those are taken out of left. A field that names
// others is added to moved under another name.
func limited(field, name, value string, to []string, left map[string]string, moved *bytes.Buffer) string {
	named, err := mail.ParseAddressList(hidden(unfolded(value)))
	var ours []*mail.Address
	for _, a := range named {
		if contains(to, a.Address) {
			ours = append(ours, a)
			delete(left, fold(a.Address))
		}
	}
	if err == nil && len(named) > 0 && len(ours) == len(named) {
		if before, _, _ := strings.Cut(field, ":"); strings.TrimSpace(before) != before {
			return name + ":" + value // the obsolete blank before the colon is not read everywhere
		}
		return field
	}
	moved.WriteString(keptPrefix + name + ":" + value)
	if len(ours) == 0 {
		return "" // Graph refuses a field without an address
	}
	texts := make([]string, len(ours))
	for i, a := range ours {
		texts[i] = text(a)
	}
	return list(name, texts)
}

// list is a field of addresses, one a line.
func list(name string, addresses []string) string {
	return name + ": " + strings.Join(addresses, ",\r\n ") + "\r\n"
}

// remaining are the members of to that are left, in their order.
func remaining(to []string, left map[string]string) (addresses []string) {
	for _, a := range to {
		if left[fold(a)] == a {
			addresses = append(addresses, "<"+a+">")
		}
	}
	return addresses
}

// veil makes an encoded word (RFC 2047) any other word. No name that means something begins with it.
const veil = "=!!?"

// hidden is a list of addresses whose names are not decoded when it is read: which charset they are in does
// not matter, and they are written again as they were. Bytes that are not UTF-8 are shown as "?".
func hidden(value string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(value, "?"), "=?", veil)
}

// text is an address of a hidden list as it was.
func text(a *mail.Address) string {
	if !strings.Contains(a.Name, veil) {
		return a.String()
	}
	words := strings.Fields(strings.ReplaceAll(a.Name, veil, "=?"))
	for i, w := range words {
		encoded := strings.HasPrefix(w, "=?") && strings.HasSuffix(w, "?=")
		if !encoded || strings.ContainsAny(w, `"(),:;<>@\`) {
			words[i] = strings.TrimSuffix((&mail.Address{Name: w, Address: "@"}).String(), " <@>")
		}
	}
	return strings.Join(words, " ") + " " + (&mail.Address{Address: a.Address}).String()
}

// fold is the form in which addresses are compared: Exchange ignores case in the local part too, and quotes
// do not count.
func fold(address string) string {
	if at := strings.LastIndexByte(address, '@'); at > 1 && address[0] == '"' && address[at-1] == '"' {
		local := strings.NewReplacer(`\\`, `\`, `\`, "").Replace(address[1 : at-1])
		address = local + address[at:]
	}
	return strings.ToLower(address)
}

func contains(list []string, address string) bool {
	for _, a := range list {
		if fold(a) == fold(address) {
			return true
		}
	}
	return false
}

// unfolded is a value on one line (RFC 5322, 2.2.3).
func unfolded(value string) string {
	return strings.NewReplacer("\r\n", "", "\n", "").Replace(value)
}

// header reads the fields of a header, each with its line ends, and its length with the empty line.
func header(m *httpapi.Mail) (fields []string, length int64, err error) {
	c, err := m.Open()
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	in := bufio.NewReader(io.LimitReader(c, maxHeader))
	for {
		line, err := in.ReadString('\n')
		length += int64(len(line))
		switch {
		case err == io.EOF && length >= maxHeader:
			return nil, 0, &httpapi.Outcome{Stage: diagnose.StageEndOfData, Class: 5,
				Reason: "malformed_message",
				Text:   fmt.Sprintf("the header is longer than %d bytes", maxHeader)}
		case err != nil && err != io.EOF:
			return nil, 0, err
		case strings.TrimRight(line, "\r\n") == "": // the end of the header, or of the content
			return fields, length, nil
		case len(fields) > 0 && (line[0] == ' ' || line[0] == '\t'):
			fields[len(fields)-1] += line
		default:
			fields = append(fields, line)
		}
		if err == io.EOF {
			fields[len(fields)-1] += "\r\n"
			return fields, length, nil
		}
	}
}
