package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"mailwhy/diagnose/bounce"
)

// setOfEmails scores sisimai/set-of-emails.
func (s *scorer) setOfEmails() error {
	const dir = "set-of-emails/maildir/"
	all, err := s.files(dir + "bsd/*.eml")
	if err != nil || len(all) == 0 {
		return err
	}
	var bounces []found
	complaints, replies, taken := 0, 0, map[bool]int{}
	for _, f := range all {
		name := filepath.Base(f.file)
		complaint, reply := strings.HasPrefix(name, "arf-"), strings.HasPrefix(name, "rfc3834-")
		switch {
		case complaint:
			complaints++
		case reply:
			replies++
		default:
			bounces = append(bounces, f)
			continue
		}
		if f.isBounce() {
			taken[complaint]++
		}
	}
	fmt.Printf("sisimai/set-of-emails: %d bounces, %d complaints, %d automatic answers\n", len(bounces),
		complaints, replies)
	t := byWriter(bounces)
	t.print()
	s.target("a recipient is named", t.sum.named, t.sum.files, 0.95)
	s.target("a Message-ID or a Received field of ours is found", t.sum.keys, t.sum.files, 0.93)
	s.target("... where a line with one stands in the body", t.sum.inLines, t.sum.lines, 1)
	s.none("complaints taken for a bounce", taken[true], complaints)
	s.none("automatic answers taken for a bounce", taken[false], replies)
	return s.lineEnds(dir)
}

// lineEnds compares the same files with other line ends.
func (s *scorer) lineEnds(dir string) error {
	for _, kind := range []string{"dos", "mac"} {
		files, err := s.files(dir + kind + "/*.eml")
		if err != nil {
			return err
		}
		same, of := 0, 0
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(s.dir, dir, "bsd", filepath.Base(f.file)))
			if err != nil {
				continue
			}
			of++
			plain := found{report: bounce.Parse(b)}
			if fmt.Sprint(plain.recipients()) == fmt.Sprint(f.recipients()) &&
				plain.report.Kind == f.report.Kind {
				same++
			}
		}
		s.target(kind+": reads like the same file with LF", same, of, 1)
	}
	return nil
}

// tally counts what is found in the bounces of one writer.
type tally struct {
	files, named, ids, ours, keys int
	lines                         int // files where a line with a key stands in the body
	inLines                       int // ... and a key is found
}

// tallies are those of all writers.
type tallies struct {
	by  map[string]*tally
	sum tally
}

// byWriter counts what is found. Since none of the messages went through a mailwhy, each is read once more
// with a Received field of ours put in front of the first one in its body.
func byWriter(files []found) *tallies {
	t := &tallies{by: map[string]*tally{}}
	for _, f := range files {
		name := filepath.Base(f.file)
		writer := name[:strings.LastIndexByte(name, '-')]
		if t.by[writer] == nil {
			t.by[writer] = &tally{}
		}
		b, err := os.ReadFile(f.file)
		if err != nil {
			continue
		}
		id, ours := hasKey(f.report, bounce.KeyMessageID), false
		stamped, received := withOurs(b)
		line := keyLine("Message-ID", b) != nil
		if received {
			ours = hasKey(bounce.Parse(stamped), bounce.KeyQueueID)
		}
		for _, c := range []*tally{t.by[writer], &t.sum} {
			c.files++
			c.named += count(len(f.recipients()) > 0 && f.isBounce())
			c.ids += count(id)
			c.ours += count(ours)
			c.keys += count(id || ours)
			c.lines += count(received || line)
			c.inLines += count((received || line) && (id || ours))
		}
	}
	return t
}

func hasKey(r bounce.Report, kind bounce.KeyKind) bool {
	for _, k := range r.Keys {
		if k.Kind == kind && k.Where != bounce.WhereReference {
			return true
		}
	}
	return false
}

// bodyAt is where the body of a mail begins, with the line end in front of it.
func bodyAt(b []byte) int {
	at := len(b)
	for _, end := range []string{"\n\n", "\r\n\r\n", "\n\r\n"} {
		if i := bytes.Index(b, []byte(end)); i >= 0 {
			at = min(at, i+len(end)-1)
		}
	}
	return at
}

// keyLine finds a line with a Message-ID, or a Received field.
func keyLine(name string, b []byte) []int {
	return regexp.MustCompile(`(?im)^[ \t>]*` + name + `[ \t]*:`).FindIndex(b[bodyAt(b):])
}

// withOurs is a mail with a Received field of ours in front of the first one in its body.
func withOurs(b []byte) ([]byte, bool) {
	const field = "Received: from app.example (app.example [192.0.2.1])\n\tby mail.example (mailwhy) " +
		"with ESMTP id 01J9ZK3V0000000000000000;\n\tSun, 29 Nov 2026 00:00:00 +0000\n"
	found := keyLine("Received", b)
	if found == nil {
		return nil, false
	}
	at := bodyAt(b) + found[0]
	return append(append(bytes.Clone(b[:at]), field...), b[at:]...), true
}

func (t *tallies) print() {
	names := make([]string, 0, len(t.by))
	for name := range t.by {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Printf("  %-24s %6s %6s %10s %9s\n", "writer", "files", "named", "message-id", "received")
	for _, name := range names {
		c := t.by[name]
		fmt.Printf("  %-24s %6d %6d %10d %9d\n", name, c.files, c.named, c.ids, c.ours)
	}
	c := t.sum
	fmt.Printf("  %-24s %6d %6d %10d %9d\n", "all", c.files, c.named, c.ids, c.ours)
}
