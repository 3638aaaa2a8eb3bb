package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/scripts/faults/traffic"
)

// cell is one way in which smtp-sink misbehaves, and what must become of a message that meets it.
type cell struct {
	stage string
	flags []string
	want  string // relayed: it arrives, without a report; bounced: the sender gets a report; either
	takes bool   // the faulty sink takes the message all the same
}

// The text of smtp-sink's hard refusals, which a bounce must repeat.
const hardText = "552 5.2.2 mailbox of the matrix is full"

// cells are all stages and faults. What happens before MAIL, and what is not a 5xx, never fails a message.
func cells(full bool) []cell {
	var all []cell
	stages := []string{"CONNECT", "EHLO", "HELO", "MAIL", "RCPT", "DATA", ".", "RSET", "NOOP", "QUIT"}
	for _, stage := range stages {
		after := stage == "RSET" || stage == "NOOP" || stage == "QUIT" || stage == "HELO"
		for _, flag := range []string{"-r", "-f", "-Q", "-q"} {
			c := cell{stage: stage, flags: []string{flag, stage}, want: "relayed", takes: after}
			switch {
			case flag != "-f":
			case stage == "RCPT" || stage == "DATA" || stage == ".":
				c.want = "bounced"
			case stage == "MAIL":
				c.want = "either"
			case stage == "EHLO":
				c.takes = true // by HELO
			}
			all = append(all, c)
		}
		// Delaying one reply, smtp-sink overtakes itself where commands are pipelined: hence -p.
		all = append(all, cell{stage, []string{"-W", stage + ":1", "-p"}, "relayed", true})
	}
	for _, plain := range []string{"-e", "-E", "-8", "-N", "-p", "-a", "-F", "-C"} {
		all = append(all, cell{"EHLO", []string{plain}, "relayed", true})
	}
	all = append(all, cell{"DATA", []string{"-A", "1"}, "either", false},
		cell{"DATA", []string{"-H", "1"}, "relayed", true}, cell{".", []string{"-w", "1"}, "relayed", true})
	if full {
		return all
	}
	var some []cell
	for i, c := range all {
		if i%3 == 0 || c.stage == "." && c.want == "bounced" ||
			strings.HasPrefix(c.flags[0], "-q") && c.stage == "." {
			some = append(some, c)
		}
	}
	return some
}

// testMatrix offers a message to each faulty upstream, and then mends the upstream.
func testMatrix(ctx context.Context, s *site, r *result) {
	all := cells(s.full)
	var outcomes counter
	parallel(4, len(all), func(i int) {
		if ctx.Err() == nil {
			s.tryCell(ctx, r, &all[i], &outcomes)
			r.ran(1)
		}
	})
	r.note("%d cells: %s", len(all), &outcomes)
}

// tryCell is one cell.
func (s *site) tryCell(ctx context.Context, r *result, c *cell, outcomes *counter) {
	t := newScenario(s, r, "")
	t.client.Drops = false
	upstream := s.freePort()
	maildir := filepath.Join(t.dir, "maildir")
	t.setup.upstream = "smtp://" + upstream + "?tls=none"
	t.setup.env = []string{
		"MAILWHY_UPSTREAM_CONCURRENCY=5", "MAILWHY_DSN_COLLECT=100ms", "MAILWHY_DSN_ROUTE=maildir",
		"MAILWHY_DSN_MAILDIR=" + maildir,
	}
	t.setup.env = append(t.setup.env, r.mode()...)
	faulty, err := s.startFaulty(t.dir, upstream, c)
	must(err, "starting smtp-sink")
	t.start(ctx)
	m := traffic.Mix{Plain: true}.Message("x000001")
	refused := t.client.Offer(ctx, m)
	if !r.try || !errors.Is(refused, smtptest.ErrRefused) {
		must(refused, "offering a message")
	}
	t.until(ctx, 4*time.Second, func() bool {
		return t.sawEnd() || c.takes && t.readDumps(c, m) > 0
	})
	traffic.Sleep(ctx, 200*time.Millisecond)
	faulty()
	t.readDumps(c, m)
	repaired, err := traffic.StartSink(t.ledger, upstream, secret)
	must(err, "starting the repaired upstream")
	s.later(func() { repaired.Close() })
	t.until(ctx, 20*time.Second, func() bool { t.readMaildir(maildir); return t.ledger.Outstanding() == 0 })
	t.stop()
	t.readMaildir(maildir)
	v := t.judge()
	name := strings.Join(c.flags, " ")
	outcome := "relayed"
	switch {
	case refused != nil: // in the session: nothing of it may be left
		outcome = "refused"
	case v.Bounced > 0:
		outcome = "bounced"
	}
	outcomes.add(outcome, 1)
	want := c.want
	if r.try && want == "bounced" {
		want = "refused"
	}
	if want != "either" && want != outcome || len(v.Broken) > 0 {
		r.fail("smtp-sink %s: %s, want %s; %d violations: %s", name, outcome, want, len(v.Broken),
			t.lastRefusal())
	}
	if v.Bounced > 0 && c.want == "bounced" && !bytes.Contains(t.maildirText(maildir), []byte(hardText[4:])) {
		r.fail("smtp-sink %s: the bounce does not repeat %q", name, hardText)
	}
}

// lastRefusal is the last reply in the delivery log.
func (t *scenario) lastRefusal() string {
	last := "no attempt"
	for _, e := range t.events() {
		if e.Stage != "" {
			last = e.Event + " at " + e.Stage + ": " + e.Reply
		}
	}
	return last
}

// startFaulty starts smtp-sink. The function that it returns ends it.
func (s *site) startFaulty(dir, addr string, c *cell) (stop func(), err error) {
	args := append([]string{"-u", "root", "-d", filepath.Join(dir, "dump."), "-B", hardText}, c.flags...)
	cmd := exec.Command(s.sinkProgram(), append(args, addr, "64")...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+s.sinkLibraries())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	s.later(stop)
	time.Sleep(100 * time.Millisecond)
	return stop, nil
}

// sawEnd reports whether the delivery log has an attempt, or the lane's pause.
func (t *scenario) sawEnd() bool {
	for _, e := range t.events() {
		switch e.Event {
		case "relayed", "deferred", "failed", "lane":
			return true
		}
	}
	return false
}

// readDumps enters what the faulty sink kept as arrived, where it also said so, and returns how many files
// there are. smtp-sink keeps lines without their CR, and one line more than it got.
func (t *scenario) readDumps(c *cell, m *traffic.Message) int {
	files, _ := filepath.Glob(filepath.Join(t.dir, "dump.*"))
	n := 0
	for _, f := range files {
		b := readFile(f)
		at := bytes.Index(b, []byte(ledger.Mark))
		if at < 0 || !c.takes {
			continue
		}
		content := bytes.ReplaceAll(b[at:], []byte("\n"), []byte("\r\n"))
		sum := t.ledger.Sum(bytes.TrimRight(content, "\r\n"), []byte("\r\n"))
		same := sum == t.ledger.Sum(bytes.TrimRight(m.Content, "\r\n"), []byte("\r\n"))
		if !same && t.stillBeingWritten(f) {
			continue
		}
		n++
		if os.Rename(f, filepath.Join(t.dir, "taken."+filepath.Base(f))) == nil {
			if same {
				sum = t.ledger.Sum(m.Content)
			}
			t.ledger.Write(ledger.Record{What: ledger.Arrived, ID: m.ID, From: m.From, To: m.To, Sum: sum})
		}
	}
	return n
}

// stillBeingWritten reports whether a file is so new that smtp-sink may be at it.
func (t *scenario) stillBeingWritten(name string) bool {
	st, err := os.Stat(name)
	return err == nil && time.Since(st.ModTime()) < time.Second
}

// readMaildir enters the reports in a maildir into the bounce ledger, each once.
func (t *scenario) readMaildir(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "new", "*"))
	for _, f := range files {
		if r := t.ledger.Read(toCRLF(readFile(f))); r.What == ledger.Bounced &&
			os.Rename(f, filepath.Join(dir, "cur", filepath.Base(f))) == nil {
			must(t.ledger.Write(r), "writing the ledger")
		}
	}
}

// maildirText is all that the maildir holds.
func (t *scenario) maildirText(dir string) (all []byte) {
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, f := range files {
		all = append(all, readFile(f)...)
	}
	return all
}

// toCRLF gives lines the ends that they have in SMTP.
func toCRLF(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}
