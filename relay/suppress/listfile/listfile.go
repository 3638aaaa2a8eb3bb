// Package listfile reads and writes suppression lists as files: what Amazon SES, SendGrid, Mailgun and
// Postmark export, a list with an address a line, and the form of our own that export writes. It does no I/O
// but on the reader and writer that it is given.
//
// The form is found by the first line. A line with the name of an address column is a header, and the names
// of the other columns say what they hold, whatever their order:
//
//	Mailgun    address,code,error,created_at
//	SES        EmailAddress,Reason,LastUpdateTime   or no header: address,BOUNCE
//	SendGrid   email,reason,status,created          (spam reports: email,ip,created)
//	Postmark   EmailAddress,SuppressionReason,Origin,CreatedAt
//	ours       address,code,error,created_at,scope,reason,expires,note
//
// Without a header each line is an address, with a word for the reason after a comma or without. Empty lines
// and lines that begin with # are passed over.
package listfile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Line is what stands in a line of a list, not checked. What is not told is empty.
type Line struct {
	Number  int
	Address string
	Reason  string // spam_complaint, manual or another reason of ours
	Error   string // what the server said, its codes included
	Time    time.Time
	Scope   string
	Expires time.Time
	Note    string
}

// lineMost is the longest line that is read, bytes.
const lineMost = 64 << 10

// Read calls each for every line of a list, until it returns an error. bad is called for a line that cannot
// be read.
func Read(r io.Reader, each func(Line) error, bad func(number int, err error)) error {
	in := bufio.NewReaderSize(r, lineMost)
	if mark, _ := in.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		in.Discard(3)
	}
	skipped := 0
	for {
		first, err := peekLine(in)
		text := strings.TrimSpace(string(first))
		switch {
		case len(first) == 0:
			return err
		case text == "" || text[0] == '#':
			in.Discard(len(first))
			skipped++
			continue
		}
		if comma, columns := header(text); columns != nil {
			in.Discard(len(first))
			return readTable(in, comma, columns, skipped+1, each, bad)
		}
		return readLines(in, skipped, each, bad)
	}
}

// peekLine is the line that comes next, its end included. At the end of the file it is empty.
func peekLine(in *bufio.Reader) ([]byte, error) {
	for n := 512; ; n *= 2 {
		b, err := in.Peek(min(n, lineMost))
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return b[:i+1], nil
		}
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		case n >= lineMost:
			return b, nil
		}
	}
}

// header are the columns of a header, and what stands between them; nil if the line is none.
func header(line string) (comma rune, columns []string) {
	for _, comma = range ",;\t" {
		cells := strings.Split(line, string(comma))
		found := false
		for i, c := range cells {
			cells[i] = column(c)
			found = found || cells[i] == "address"
		}
		if found {
			return comma, cells
		}
	}
	return 0, nil
}

// column is the name of ours for a column; "" for one that is not read.
func column(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	switch plain {
	case "address", "email", "emailaddress", "recipient":
		return "address"
	case "reason", "suppressionreason", "type":
		return "reason"
	case "code", "status":
		return "code"
	case "error", "description", "details", "message":
		return "error"
	case "createdat", "created", "lastupdatetime", "date", "firstseen":
		return "time"
	case "scope", "expires", "note":
		return plain
	}
	return ""
}

// readTable reads what follows a header. Cells in quotes may have line ends in them.
func readTable(in io.Reader, comma rune, columns []string, before int, each func(Line) error,
	bad func(int, error)) error {
	c := csv.NewReader(in)
	c.Comma, c.FieldsPerRecord, c.LazyQuotes, c.ReuseRecord = comma, -1, true, true
	for {
		cells, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			bad(before+parse.StartLine, parse.Err)
			continue
		}
		if err != nil {
			return err
		}
		number, _ := c.FieldPos(0)
		line := Line{Number: before + number}
		if err := line.fill(columns, cells); err != nil {
			bad(line.Number, err)
			continue
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// fill sets the fields of a line by its columns.
func (l *Line) fill(columns, cells []string) (err error) {
	code := ""
	for i, cell := range cells {
		if cell = strings.TrimSpace(cell); i >= len(columns) || cell == "" {
			continue
		}
		switch columns[i] {
		case "address":
			l.Address = strings.Clone(cell)
		case "reason":
			l.word(cell)
		case "code":
			code = cell
		case "error":
			l.Error = strings.Clone(cell)
		case "time":
			l.Time, err = parseTime(cell)
		case "expires":
			l.Expires, err = parseTime(cell)
		case "scope":
			l.Scope = strings.Clone(cell)
		case "note":
			l.Note = strings.Clone(cell)
		}
		if err != nil {
			return err
		}
	}
	if l.Address == "" {
		return errors.New("no address")
	}
	if code != "" && l.Error != "" && diagnose.ParseReply(l.Error).Code == 0 {
		l.Error = code + " " + l.Error
	}
	return nil
}

// word sets the reason by a word of a provider's; what is no such word is what a server said.
func (l *Line) word(text string) {
	plain := strings.NewReplacer("_", "", " ", "", "-", "").Replace(strings.ToLower(text))
	switch {
	case plain == "complaint" || plain == "spamcomplaint" || plain == "spamreport" || plain == "spam":
		l.Reason = "spam_complaint"
	case plain == "manualsuppression" || plain == "manual" || strings.HasPrefix(plain, "unsubscribe"):
		l.Reason = "manual"
	case plain == "bounce" || plain == "bounced" || plain == "hardbounce" || plain == "imported":
	case !strings.ContainsAny(text, " .:"):
		l.Reason = strings.Clone(text)
	default:
		l.Error = strings.Clone(text)
	}
}

// parseTime reads a time as the providers write it: RFC 3339, RFC 5322, with a blank, or in seconds since
// 1970.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.RFC1123Z, time.RFC1123, time.DateTime,
		time.DateOnly, "2006-01-02 15:04:05 -0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05 MST"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<35 {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, fmt.Errorf("not a time: %q", s)
}

// readLines reads a list without a header.
func readLines(in *bufio.Reader, before int, each func(Line) error, bad func(int, error)) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, lineMost)
	for number := before + 1; scanner.Scan(); number++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		l := Line{Number: number, Address: text}
		if i := strings.LastIndexAny(text, ",;\t"); i > strings.LastIndexByte(text, '@') {
			l.Address = strings.TrimSpace(text[:i])
			l.word(strings.Trim(strings.TrimSpace(text[i+1:]), `"`))
		}
		if inner, ok := strings.CutPrefix(l.Address, `"`); ok && strings.HasSuffix(inner, `"`) {
			l.Address = strings.TrimSuffix(inner, `"`)
		}
		if err := each(l); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		bad(0, err)
	}
	return nil
}

// Writer writes entries in our own form.
type Writer struct{ csv *csv.Writer }

// NewWriter writes the header.
func NewWriter(w io.Writer) (*Writer, error) {
	out := &Writer{csv.NewWriter(w)}
	return out, out.csv.Write([]string{"address", "code", "error", "created_at", "scope", "reason", "expires",
		"note"})
}

// Write writes an entry that is suppressed.
func (w *Writer) Write(s *relay.Suppression) error {
	code, words := "", s.Said()
	if first, rest, ok := strings.Cut(words, " "); ok && len(first) == 3 && first[0] == '5' {
		code, words = first, rest
	}
	expires := ""
	if !s.Expires.IsZero() {
		expires = s.Expires.UTC().Format(time.RFC3339)
	}
	return w.csv.Write([]string{s.Address, code, words, s.FirstSeen.UTC().Format(time.RFC1123Z), s.Scope,
		string(s.Reason), expires, s.Note})
}

// Flush writes what is left.
func (w *Writer) Flush() error {
	w.csv.Flush()
	return w.csv.Error()
}
