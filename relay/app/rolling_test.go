package app

import (
	"errors"
	"fmt"
	"io"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mailwhy/relay/smtptest"
)

// sender sends mail through whichever of two relays takes it, as an application behind a Service does: one
// that is away, or answers 421, means the other.
type sender struct {
	t        *testing.T
	addrs    []string
	sent     atomic.Int64
	turned   atomic.Int64 // attempts that went to the other relay
	stop     chan struct{}
	refusals smtptest.Buffer
}

// run sends until stop is closed, and then until the message under way was taken.
func (s *sender) run(worker int) {
	for n := 0; ; n++ {
		select {
		case <-s.stop:
			return
		default:
		}
		subject := fmt.Sprintf("rolling-%d-%d", worker, n)
		for try := worker; ; try++ {
			err := hand(s.addrs[try%len(s.addrs)], "Subject: "+subject+"\r\n\r\nx\r\n")
			if err == nil {
				s.sent.Add(1)
				break
			}
			s.turned.Add(1)
			if p, ok := errors.AsType[*textproto.Error](err); ok && p.Code/100 == 5 {
				fmt.Fprintln(&s.refusals, err)
				return
			}
		}
	}
}

// hand hands a message in. What is answered to QUIT says nothing of the message.
func hand(addr, content string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail("app@client.test"), c.Rcpt("joe@example.test")); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.Quit()
	return nil
}

// TestRollingRestart: two relays are restarted one after the other while mail comes in. No mail is refused,
// lost or sent twice.
func TestRollingRestart(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	open := func(dir, addr string) *door {
		t.Helper()
		conf := strings.Replace(plainDoor(dir, upstream.URL()), `shutdown_grace = "1s"`,
			"shutdown_drain = \"1m\"\nshutdown_grace = \"20s\"", 1)
		d, err := openDoor(t, dir, conf+"[[listen]]\naddress = \""+addr+"\"\n")
		if err != nil {
			t.Fatal(err)
		}
		<-d.app.Ready()
		return d
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	doors := []*door{open(dirs[0], "127.0.0.1:0"), open(dirs[1], "127.0.0.1:0")}
	s := &sender{t: t, stop: make(chan struct{})}
	for _, d := range doors {
		s.addrs = append(s.addrs, d.app.Addrs()[0].String())
	}
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() { s.run(w) })
	}
	sent := func(more int64) {
		t.Helper()
		before := s.sent.Load()
		smtptest.WaitFor(t, "mail to be sent", func() bool { return s.sent.Load() >= before+more })
	}
	for i := range doors {
		sent(20)
		stopped := doors[i].stopAside()
		sent(20) // through the other one
		await(t, stopped)
		if left := doors[i].app.Left(); left == nil || left.Messages != 0 {
			t.Errorf("relay %d left %+v", i, left)
		}
		doors[i] = open(dirs[i], s.addrs[i])
	}
	sent(20)
	close(s.stop)
	workers.Wait()
	for i := range doors {
		await(t, doors[i].stopAside())
	}
	if refused := s.refusals.String(); refused != "" {
		t.Errorf("refused: %s", refused)
	}
	if s.turned.Load() == 0 {
		t.Error("no client met a relay that was away")
	}
	arrived := map[string]int{}
	for _, m := range upstream.Messages() {
		for line := range strings.Lines(string(m.Content)) {
			if subject, ok := strings.CutPrefix(line, "Subject: "); ok {
				arrived[strings.TrimSpace(subject)]++
			}
		}
	}
	for subject, n := range arrived {
		if n != 1 {
			t.Errorf("%s arrived %d times", subject, n)
		}
	}
	if int64(len(arrived)) != s.sent.Load() {
		t.Errorf("%d messages were taken, and %d arrived", s.sent.Load(), len(arrived))
	}
}
