package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// sink is the upstream, and keeps the second and the third ledger.
type sink struct {
	*smtptest.Server
	ledger *ledger

	mu     sync.Mutex
	gate   chan struct{} // open transactions wait here while it is not nil
	seen   map[string]bool
	errs   []string
	script func(smtptest.Command) smtptest.Action
	slow   time.Duration // before each 250 to the final dot
}

// startSink starts a sink on addr; 127.0.0.1:0 when it is empty.
func startSink(l *ledger, addr string) (*sink, error) {
	k := &sink{ledger: l, seen: map[string]bool{}, slow: 2 * time.Millisecond}
	srv, err := smtptest.Start(smtptest.Options{
		Addr: addr, Users: map[string]string{"user": secret}, Forget: true, Script: k.decide, Deliver: k.deliver,
	})
	k.Server = srv
	return k, err
}

// hold makes transactions wait at RCPT, so that a backlog builds up in the relay, until release.
func (k *sink) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gate == nil {
		k.gate = make(chan struct{})
	}
}

// release ends hold.
func (k *sink) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gate != nil {
		close(k.gate)
		k.gate = nil
	}
}

// decide is the sink's script.
func (k *sink) decide(c smtptest.Command) smtptest.Action {
	if k.script != nil {
		if a := k.script(c); !a.IsZero() {
			return a
		}
	}
	switch c.Stage {
	case diagnose.StageRcpt:
		k.mu.Lock()
		gate := k.gate
		k.mu.Unlock()
		if gate != nil {
			<-gate
		}
		return k.judge(c.Address)
	case diagnose.StageEndOfData:
		return smtptest.Action{Delay: k.slow}
	}
	return smtptest.Action{}
}

// judge refuses what the address asks to be refused.
func (k *sink) judge(address string) smtptest.Action {
	user, _, _ := strings.Cut(address, ".")
	switch user {
	case badUser:
		return smtptest.Action{Reply: "550 5.1.1 <" + address + ">: user unknown"}
	case softUser:
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.seen[address] {
			k.seen[address] = true
			return smtptest.Action{Reply: "451 4.2.1 mailbox busy, come again"}
		}
	}
	return smtptest.Action{}
}

// deliver enters a content into the ledger before its 250.
func (k *sink) deliver(m *smtptest.Message) error {
	to := make([]string, len(m.To))
	for i := range m.To {
		to[i] = m.To[i].Address
	}
	r := readArrival(m.Content)
	if r.What == arrived {
		r.From, r.To = m.From, to
	} else if len(r.To) == 0 {
		k.complain("a content that is neither an offered message nor a report of failure came from <%s> for %v", m.From, to)
		return nil
	}
	return k.ledger.write(r)
}

func (k *sink) complain(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errs = append(k.errs, fmt.Sprintf(format, args...))
}

// complaints are what the sink met that no client of ours ever offered.
func (k *sink) complaints() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.errs)
}

// quiet waits until no session is open, at most for a while, and reports whether it is so.
func (k *sink) quiet() bool {
	for range 400 {
		if k.Stats().Open == 0 {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// readArrival makes the ledger's record of a content: an arrival, or a bounce.
func readArrival(content []byte) record {
	head := content
	if i := bytes.Index(content, []byte("\r\n\r\n")); i >= 0 {
		head = content[:i+2]
	}
	at := 0
	if !bytes.HasPrefix(head, []byte(mark)) {
		at = bytes.Index(head, []byte("\r\n"+mark)) + 2
		if at < 2 {
			return readReport(content)
		}
	}
	rest := content[at+len(mark):]
	id, _, _ := bytes.Cut(rest, []byte("\r\n"))
	sum := sha256.Sum256(content[at:])
	r := record{What: arrived, ID: string(id), Sum: hex.EncodeToString(sum[:12])}
	if !onlyTrace(content[:at]) {
		r.Note = fmt.Sprintf("(before it stands %q)", content[:min(at, 400)])
	}
	return r
}

// onlyTrace reports whether a header consists of Received lines alone.
func onlyTrace(head []byte) bool {
	for line := range bytes.Lines(head) {
		if !bytes.HasPrefix(line, []byte("Received: ")) && line[0] != ' ' && line[0] != '\t' {
			return false
		}
	}
	return true
}

// What a report's delivery-status part says (RFC 3464, 2.3), folded lines joined.
var (
	messageID      = regexp.MustCompile(`(?im)^Message-ID:\s*(<[^>]+>)`)
	finalRecipient = regexp.MustCompile(`(?im)^Final-Recipient:\s*rfc822;\s*(\S+)\s*$`)
	actionFailed   = regexp.MustCompile(`(?im)^Action:\s*failed\s*$`)
)

// readReport makes the ledger's record of a report. Its To is empty when it is none, or tells of no failure.
func readReport(content []byte) record {
	text := strings.ReplaceAll(string(content), "\r\n", "\n")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n ", " "), "\n\t", " ")
	r := record{What: bounced}
	if m := messageID.FindStringSubmatch(text); m != nil {
		r.Report = m[1]
	}
	for block := range strings.SplitSeq(text, "\n\n") {
		m := finalRecipient.FindStringSubmatch(block)
		if m == nil || !actionFailed.MatchString(block) {
			continue
		}
		to := strings.Trim(m[1], "<>")
		r.To = append(r.To, to)
		if parts := strings.Split(to, "."); len(parts) > 2 {
			r.ID = parts[1]
		}
	}
	return r
}
