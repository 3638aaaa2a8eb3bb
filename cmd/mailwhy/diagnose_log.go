package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"mailwhy/diagnose"
)

// logMark stands in front of what is appended to a log line.
const logMark = " mailwhy={"

// logNote is what is appended to a log line: enough to act on. With --json it is the whole diagnosis.
type logNote struct {
	Category   diagnose.Category   `json:"category"`
	Reason     diagnose.Reason     `json:"reason"`
	Owner      diagnose.Owner      `json:"owner"`
	Cause      string              `json:"cause"`
	Fix        []string            `json:"fix"`
	Evidence   []string            `json:"evidence,omitempty"`
	Confidence diagnose.Confidence `json:"confidence"`
}

// annotateLog copies Postfix log lines from standard input, each at once. Behind a line that quotes a reply
// it writes what the reply means; every other line, and every byte of these, passes through as it is.
func (d *diagnoser) annotateLog() error {
	lines := newLineReader(d.in)
	for {
		line, whole, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if whole {
			line, err = d.annotated(line)
		}
		if err == nil {
			_, err = d.out.Write(line)
		}
		if err == nil && !whole {
			err = lines.rest(d.out)
		}
		if err != nil {
			return err
		}
	}
}

// annotated is a log line with its meaning, if it quotes a reply.
func (d *diagnoser) annotated(line []byte) ([]byte, error) {
	body := bytes.TrimRight(line, "\r\n")
	symptom, ok := readPostfix(string(body), d.text)
	if !ok {
		return line, nil
	}
	if d.stage != "" {
		symptom.Stage = diagnose.Stage(d.stage)
	}
	found := d.engine.Diagnose(symptom)
	var note any = logNote{found.Category, found.Reason, found.Owner, found.Cause, found.Fix, found.Evidence,
		found.Confidence}
	if d.json {
		note = found
	}
	b, err := safeJSON(note)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(line)+len(b)+16)
	out = append(append(append(out, body...), logMark...), b[1:]...)
	return append(out, line[len(body):]...), nil
}

// readPostfix finds the refusal that a log line of Postfix tells of. A line without a reply tells of none,
// unless wordings are wanted too: then what a status=deferred, bounced or undeliverable line says in its
// brackets is one.
func readPostfix(line string, wordings bool) (diagnose.Symptom, bool) {
	if strings.Contains(line, logMark) { // annotated before
		return diagnose.Symptom{}, false
	}
	if s, ok := readReject(line); ok {
		return s, true
	}
	words, status := insideStatus(line)
	if status == "" {
		_, words, _ = strings.Cut(line, ": host ") // a host that refused before another one was tried
		if words == "" || !strings.Contains(line, "postfix") {
			return diagnose.Symptom{}, false
		}
		words = "host " + words
	}
	s, ok := readSaid(words)
	if !ok && wordings && status != "" && words != "" {
		return diagnose.Symptom{Text: words, Facts: diagnose.Facts{Recipient: recipientOf(line)}}, true
	}
	s.Facts.Recipient = recipientOf(line)
	return s, ok
}

// insideStatus is what stands in brackets behind status=, and that status; both "" when the line tells of a
// success or has no status.
func insideStatus(line string) (words, status string) {
	for _, name := range [...]string{"deferred", "bounced", "undeliverable", "SOFTBOUNCE", "expired"} {
		_, after, found := strings.Cut(line, " status="+name)
		if !found {
			continue
		}
		after = strings.TrimLeft(after, " ,")
		if strings.HasPrefix(after, "(") {
			return strings.TrimSuffix(after[1:], ")"), name
		}
		return "", name
	}
	return "", ""
}

// readSaid reads "host NAME[ADDRESS] said: REPLY (in reply to COMMAND command)" and its like.
func readSaid(words string) (diagnose.Symptom, bool) {
	for _, q := range [...]struct {
		words string
		stage diagnose.Stage
	}{{" said: ", diagnose.StageUnknown}, {" refused to talk to me: ", diagnose.StageGreeting}} {
		before, reply, found := strings.Cut(words, q.words)
		if !found {
			continue
		}
		s := diagnose.Symptom{Stage: q.stage, Upstream: hostOf(before)}
		if at := strings.LastIndex(reply, " (in reply to "); at >= 0 {
			s.Stage = stageOfCommand(reply[at+len(" (in reply to "):])
			reply = reply[:at]
		} else if strings.Contains(before, "SASL authentication failed") {
			s.Stage = diagnose.StageAuth
		}
		s.Reply = diagnose.ParseReply(reply)
		return s, s.Reply.Code != 0
	}
	return diagnose.Symptom{}, false
}

// hostOf is the name in front of the last [ADDRESS] of words, or that address when the name is not known.
func hostOf(words string) string {
	open := strings.LastIndexByte(words, '[')
	if open < 0 {
		return ""
	}
	name := words[strings.LastIndexAny(words[:open], " ,(")+1 : open]
	if name != "" && name != "unknown" {
		return name
	}
	address, _, _ := strings.Cut(words[open+1:], "]")
	return address
}

// stageOfCommand is the stage of what Postfix calls a command.
func stageOfCommand(s string) diagnose.Stage {
	for _, c := range [...]struct {
		name  string
		stage diagnose.Stage
	}{
		{"end of DATA", diagnose.StageEndOfData}, {"END-OF-MESSAGE", diagnose.StageEndOfData},
		{"DATA", diagnose.StageData},
		{"MAIL", diagnose.StageMail}, {"RCPT", diagnose.StageRcpt}, {"EHLO", diagnose.StageHello},
		{"HELO", diagnose.StageHello}, {"LHLO", diagnose.StageHello}, {"STARTTLS", diagnose.StageTLS},
		{"AUTH", diagnose.StageAuth}, {"CONNECT", diagnose.StageGreeting},
		{"initial server greeting", diagnose.StageGreeting},
		{"RSET", diagnose.StageReset}, {"QUIT", diagnose.StageQuit},
	} {
		if strings.HasPrefix(s, c.name) {
			return c.stage
		}
	}
	return diagnose.StageUnknown
}

// readReject reads what Postfix itself refused: "reject: RCPT from NAME[ADDRESS]: REPLY; from=<...>
// to=<...> ...".
func readReject(line string) (diagnose.Symptom, bool) {
	_, after, found := strings.Cut(line, "reject: ")
	if !found {
		return diagnose.Symptom{}, false
	}
	head, reply, found := strings.Cut(after, ": ")
	if !found || !strings.Contains(head, " from ") {
		return diagnose.Symptom{}, false
	}
	for _, end := range [...]string{"; from=<", "; to=<", "; proto="} {
		reply, _, _ = strings.Cut(reply, end)
	}
	s := diagnose.Symptom{Stage: stageOfCommand(head), Reply: diagnose.ParseReply(reply)}
	s.Facts.Recipient = recipientOf(line)
	return s, s.Reply.Code != 0
}

// recipientOf is the address in to=<...>.
func recipientOf(line string) string {
	_, after, _ := strings.Cut(line, " to=<")
	address, _, found := strings.Cut(after, ">")
	if !found {
		return ""
	}
	return address
}

// maxLine is the longest line that is read as one, bytes.
const maxLine = 1 << 20

// lineReader reads lines of any length in bounded memory.
type lineReader struct {
	r   *bufio.Reader
	buf []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line with its line end, if it has one; it is good until the next call. Of a line
// longer than maxLine it returns the beginning and false: the caller goes on with rest. At the end it
// returns io.EOF.
func (l *lineReader) next() (line []byte, whole bool, err error) {
	l.buf = l.buf[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, piece...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(l.buf) > 0:
			return l.buf, true, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		case len(l.buf) >= maxLine:
			return l.buf, false, nil
		}
	}
}

// rest copies what next left of a long line to w.
func (l *lineReader) rest(w io.Writer) error {
	for {
		piece, err := l.r.ReadSlice('\n')
		if _, err := w.Write(piece); err != nil {
			return err
		}
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// unescape makes line ends of the \r\n or \n that stand for them in a reply of several lines. A \n is one
// only in front of a code or at the end, since names are written like DOMAIN\nick.
func unescape(s string) string {
	if !strings.Contains(s, `\n`) {
		return s
	}
	s = strings.ReplaceAll(s, `\r\n`, "\r\n")
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\n`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if after == "" || startsWithCode(after) {
			b.WriteByte('\n')
		} else {
			b.WriteString(`\n`)
		}
		s = after
	}
}

// startsWithCode reports whether a line of a reply could begin here (RFC 5321, 4.2).
func startsWithCode(s string) bool {
	if len(s) < 3 || strings.Trim(s[:3], "0123456789") != "" {
		return false
	}
	return len(s) == 3 || strings.ContainsRune(" -\r\n\\", rune(s[3]))
}
