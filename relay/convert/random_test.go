package convert

import (
	"bytes"
	stdbase64 "encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"
)

// seen is a part as a reader sees it.
type seen struct {
	kind   string
	fields []string // decoded
	body   string   // decoded
}

// view reads a content as a mail program does.
func view(t testing.TB, content []byte) []seen {
	t.Helper()
	header, body, _ := bytes.Cut(content, []byte("\r\n\r\n"))
	m, err := mail.ReadMessage(bytes.NewReader(append(append(header, "\r\n\r\n"...), body...)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, content)
	}
	b, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return viewPart(t, map[string][]string(m.Header), b)
}

func viewPart(t testing.TB, h map[string][]string, b []byte) []seen {
	t.Helper()
	kind, params := readType(strings.Join(h["Content-Type"], ""))
	p := seen{kind: kind, fields: viewFields(t, h)}
	if p.kind == "" {
		p.kind = "text/plain"
	}
	switch {
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		return append([]seen{p}, viewMultipart(t, b, params["boundary"])...)
	case kind == "message/rfc822", kind == "message/global":
		return append([]seen{p}, view(t, b)...)
	}
	var r io.Reader = bytes.NewReader(b)
	switch strings.ToLower(strings.Join(h["Content-Transfer-Encoding"], "")) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = stdbase64.NewDecoder(stdbase64.StdEncoding, r)
	}
	decoded, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	p.body = strings.TrimRight(string(decoded), "\r\n") // multipart keeps some where no boundary follows
	return []seen{p}
}

// viewMultipart reads parts, the last of which may have no boundary behind it.
func viewMultipart(t testing.TB, b []byte, boundary string) (list []seen) {
	t.Helper()
	r := multipart.NewReader(bytes.NewReader(b), boundary)
	for {
		part, err := r.NextRawPart()
		if err != nil {
			return list
		}
		b, err := io.ReadAll(part)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		list = append(list, viewPart(t, part.Header, b)...)
	}
}

// viewFields decodes the fields of a header.
func viewFields(t testing.TB, h map[string][]string) (fields []string) {
	t.Helper()
	any := func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	decoder := &mime.WordDecoder{CharsetReader: any}
	addresses := mail.AddressParser{WordDecoder: decoder}
	for name, values := range h {
		for _, v := range values {
			switch name {
			case "Content-Transfer-Encoding", "Mime-Version":
			case "Received": // comments with words that are encoded
				d, err := decoder.DecodeHeader(strings.NewReplacer("(", "( ", ")", " )").Replace(v))
				if err != nil {
					t.Fatal(err)
				}
				fields = append(fields, name+" "+strings.Join(strings.Fields(d), " "))
			case "Content-Type", "Content-Disposition":
				kind, params := readType(v)
				fields = append(fields, fmt.Sprintf("%s %s %q", name, kind, params))
			case "From", "To", "Cc":
				list, err := addresses.ParseList(v)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, v, err)
				}
				for _, a := range list {
					address := strings.ReplaceAll(a.Address, "xn--bcher-kva", "bücher")
					fields = append(fields, name+" "+a.Name+" "+address)
				}
			default:
				d, err := decoder.DecodeHeader(v)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, v, err)
				}
				// net/mail joins lines with one blank
				fields = append(fields, name+" "+strings.Join(strings.Fields(d), " "))
			}
		}
	}
	slices.Sort(fields)
	return fields
}

// difference is the first one between two contents.
func difference(was, is []seen) string {
	for i, a := range was {
		switch {
		case i >= len(is):
			return fmt.Sprintf("%d parts, then %d", len(was), len(is))
		case a.kind != is[i].kind:
			return fmt.Sprintf("part %d: %q, then %q", i, a.kind, is[i].kind)
		case !slices.Equal(a.fields, is[i].fields):
			return fmt.Sprintf("part %d: %q, then %q", i, a.fields, is[i].fields)
		case a.body != is[i].body:
			b := is[i].body
			from := 0
			for from < min(len(a.body), len(b)) && a.body[from] == b[from] {
				from++
			}
			return fmt.Sprintf("part %d from %d: %.200q, then %.200q", i, from, a.body[from:], b[from:])
		}
	}
	if len(was) < len(is) {
		return fmt.Sprintf("%d parts, then %d", len(was), len(is))
	}
	return ""
}

// random makes contents of every shape.
type random struct{ *rand.Rand }

func (r random) pick(list ...string) string { return list[r.IntN(len(list))] }

// words are some, of any kind.
func (r random) words(kinds ...string) string {
	var list []string
	for range 1 + r.IntN(8) {
		list = append(list, r.pick(kinds...))
	}
	return strings.Join(list, r.pick(" ", "  ", "\r\n\t"))
}

func (r random) phrase() string {
	return r.pick("Ann", "Jörg Müller", "J. Müller", `"Ö, \"x\""`, "日本 語", `"Ann"`, "A Ü B", "",
		"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "=?utf-8?q?J=C3=B6rg?= =?utf-8?q?_M=C3=BC?=",
		`"=?utf-8?q?x?= Ü"`)
}

// mailbox is one, with a name or a comment.
func (r random) mailbox(local string) string {
	domain := r.pick("b.test", "bücher.test", "[192.0.2.1]")
	return r.pick(r.phrase()+" <"+local+"@"+domain+">", local+"@"+domain)
}

// header is one of a part; root says that it is a message's.
func (r random) header(root bool) string {
	if !root {
		return r.pick("", "", "Content-ID: <x@y.test>\r\n", "Content-Description: "+r.words("é", "x")+"\r\n")
	}
	subject := r.words("x", "é", "日本", "=?utf-8?q?=C3=A9?=", "\xe9t\xe9", strings.Repeat("ü", 60))
	h := r.pick("", "Received: from x (Ünknown [192.0.2.1])\r\n\tby y; Sat, 28 Nov 2026 10:00:00 +0000\r\n") +
		"From: " + r.mailbox("a") + "\r\nSubject: " + subject + "\r\n"
	if r.IntN(2) == 0 {
		h += "To: " + r.mailbox("c") + ",\r\n\t" + r.mailbox("e") + "\r\n"
	}
	if r.IntN(4) == 0 {
		h += "cc: Freunde: " + r.mailbox("g") + ", " + r.mailbox("h") + ";\r\n"
	}
	return h + r.pick("MIME-Version: 1.0\r\n", "")
}

// entity is a part: depth bounds how deep it goes.
func (r random) entity(root bool, depth int) string {
	h := r.header(root)
	if depth == 0 {
		return h + r.leaf()
	}
	switch n := r.IntN(8); n {
	case 0, 1:
		return h + r.multipart(r.pick("mixed", "alternative", "related; type=\"text/html\"", "report"), depth)
	case 2:
		return h + "Content-Type: message/rfc822\r\n\r\n" + r.entity(true, depth-1)
	case 3:
		return h + strings.ReplaceAll("Content-Type: multipart/digest; boundary=BB\r\n\r\n--BB\r\n"+
			"Content-Type: message/rfc822\r\n\r\n"+r.entity(true, depth-1)+"\r\n--BB--\r\n",
			"BB", fmt.Sprint("d", depth))
	}
	return h + r.leaf()
}

// multipart is one of a subtype, perhaps without its last boundary.
func (r random) multipart(subtype string, depth int) string {
	b := fmt.Sprint(r.pick("b", "=_b", "----=_Part:"), depth, "-", r.IntN(1000))
	s := "Content-Type: multipart/" + subtype + ";\r\n\tboundary=" + r.pick(`"`+b+`"`, b) + "\r\n" +
		r.pick("", "Content-Transfer-Encoding: 8bit\r\n") + "\r\n" + r.pick("", "preamblé\r\n")
	for range 1 + r.IntN(3) {
		s += "--" + b + r.pick("", " ") + "\r\n" + r.entity(false, depth-1) + "\r\n"
	}
	return s + r.pick("--"+b+"--\r\n", "--"+b+"--\r\n", "--"+b+"--\r\népilogue\r\n", "")
}

// leaf is the header and body of a part that has no parts.
func (r random) leaf() string {
	kind := r.pick("text/plain; charset=utf-8", "text/html; charset=utf-8; name=\"é x\"", "application/pdf",
		"text/plain; charset=iso-8859-1; format=flowed; delsp=yes", "text/plain; charset=Shift_JIS",
		"text/calendar; method=REQUEST; charset=\"UTF-8\"", "message/delivery-status",
		"IMAGE/JPEG; name=é.jpg")
	h := "Content-Type: " + kind + "\r\n"
	h += r.pick("", "", "Content-Disposition: attachment;\r\n filename=\"Ü \\\"b\\\".pdf\"\r\n",
		"Content-Disposition: attachment; filename*=utf-8''%C3%A9%20x; size=1\r\n",
		"Content-Disposition: attachment; filename*0=\"long \"; filename*1=\"é.txt\"\r\n",
		"content-disposition: inline; filename=ü b.txt\r\n")
	if kind == "message/delivery-status" {
		return h + "\r\nReporting-MTA: dns; x.test\r\n\r\nFinal-Recipient: rfc822; a@b.test\r\n"
	}
	body := r.body()
	switch r.IntN(6) {
	case 0:
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		io.WriteString(w, body)
		w.Close()
		return h + "Content-Transfer-Encoding: Quoted-Printable\r\n\r\n" + b.String() + r.pick("", "é\r\n")
	case 1:
		return h + "Content-Transfer-Encoding: BASE64\r\n\r\n" +
			stdbase64.StdEncoding.EncodeToString([]byte(body)) + "\r\n"
	}
	return h + r.pick("Content-Transfer-Encoding: 8bit\r\n", "", "content-transfer-encoding:binary\r\n") +
		"\r\n" + body
}

// body is a text of every kind.
func (r random) body() string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString(r.pick("plain", "é", "trailing \t", "flowed ", "> quoted ", "-- ", "--", "--b", "=20",
			"=", ".", "..", "From x", "", "\xff\x00\xfe", "\x83\x5c\x83\x7e", "begin 644 x",
			"Subject: no field", strings.Repeat("long é", 3*r.IntN(100)),
			strings.Repeat("z", 75)+"--b1-1", strings.Repeat("z", 1000*r.IntN(30))))
		b.WriteString("\r\n")
	}
	return b.String() + r.pick("", "no end é")
}

// TestSameWhenDecoded: whatever a content is made of, its bodies and fields are the same when they are
// decoded again, it is 7-bit, has no long lines, and has nothing to be done a second time.
func TestSameWhenDecoded(t *testing.T) {
	for seed := range uint64(3000) {
		content := random{rand.New(rand.NewPCG(seed, 1))}.entity(true, 3)
		got, _, err := convert(t, content)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, content)
		}
		if !ascii(got) {
			t.Fatalf("seed %d: it is not 7-bit:\n%s", seed, got)
		}
		for line := range strings.SplitSeq(got, "\r\n") {
			if len(line) > maxLine {
				t.Fatalf("seed %d: a line of %d bytes", seed, len(line))
			}
		}
		was, is := view(t, []byte(content)), view(t, []byte(got))
		if d := difference(was, is); d != "" {
			t.Fatalf("seed %d:\n%.3000q\nbecame\n%.3000q\n%s", seed, content, got, d)
		}
		if again, changed, err := convert(t, got); err != nil || changed || again != got {
			t.Fatalf("seed %d: converted twice: %v", seed, err)
		}
	}
}

// TestSignedStays: whatever is signed passes byte for byte, whatever around it is converted, or the content
// is refused.
func TestSignedStays(t *testing.T) {
	refused := 0
	for seed := range uint64(1000) {
		signed := "Content-Type: multipart/signed; micalg=sha-256; boundary=signed\r\n\r\n--signed\r\n" +
			random{rand.New(rand.NewPCG(seed, 3))}.entity(false, 2) +
			"\r\n--signed\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--signed--\r\n"
		if seed%2 == 0 {
			signed = strings.ToValidUTF8(signed, "?")
			signed = strings.Map(func(r rune) rune { return min(r, 0x7f) }, signed)
		}
		content := "Subject: é\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n" + signed +
			"\r\n--outer\r\n\r\né\r\n--outer--\r\n"
		r, changed, err := Open(opener(content), Needs{SevenBit: true})
		if !ascii(signed) {
			if refused++; !errors.Is(err, errFrozen) {
				t.Fatalf("seed %d: %v\n%.3000q", seed, err, content)
			}
			continue
		}
		if err != nil || !changed {
			t.Fatalf("seed %d: changed %t, %v\n%.3000q", seed, changed, err, content)
		}
		got, err := io.ReadAll(r)
		r.Close()
		part := "\r\n--outer\r\n" + signed + "\r\n--outer\r\n"
		if err != nil || !ascii(got) || !bytes.Contains(got, []byte(part)) {
			t.Fatalf("seed %d: %v\n%.3000q\nbecame\n%.3000q", seed, err, content, got)
		}
	}
	if refused < 100 || refused > 500 {
		t.Errorf("%d were refused", refused)
	}
}
