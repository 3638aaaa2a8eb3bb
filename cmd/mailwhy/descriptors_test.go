package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

// TestFewDescriptors: with 64 open files large mail is taken from as many clients as fit, the others are
// told 421, and the log names both numbers.
func TestFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "mailwhy")); err != nil { // by this name it is the command
		t.Fatal(err)
	}
	addr, err := smtptest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	upstream := smtptest.New(t, smtptest.Options{})
	var log smtptest.Buffer
	cmd := exec.Command("sh", "-c",
		"ulimit -n 64; exec ./mailwhy serve --listen "+addr+" --spool spool --upstream '"+upstream.URL()+"'")
	cmd.Dir, cmd.Stderr = dir, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() }()
	smtptest.WaitFor(t, "the relay to listen",
		func() bool { return strings.Contains(log.String(), "listening") })
	if !strings.Contains(log.String(),
		"smtpd.max_connections is 1000, but the limit of open files (64) has room for 8") {
		t.Errorf("logged: %s", log.String())
	}
	var clients sync.WaitGroup
	var mu sync.Mutex
	said := map[string]int{}
	begin := make(chan struct{})
	for range 30 {
		clients.Go(func() {
			<-begin
			reply := sendLarge(addr)
			mu.Lock()
			said[reply]++
			mu.Unlock()
		})
	}
	close(begin)
	clients.Wait()
	if said["250"] < 8 || said["250"]+said["421"] != 30 {
		t.Errorf("answers: %v", said)
	}
	smtptest.WaitFor(t, "what was taken to arrive",
		func() bool { return len(upstream.Messages()) == said["250"] })
}

// sendLarge sends a message that is kept in a file of its own, and returns the code of the last reply.
func sendLarge(addr string) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	for _, say := range []string{"", "HELO x", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA"} {
		if say != "" {
			fmt.Fprintf(c, "%s\r\n", say)
		}
		if reply, _ := r.ReadString('\n'); !strings.HasPrefix(reply, "2") &&
			!strings.HasPrefix(reply, "354") {
			return reply[:min(3, len(reply))]
		}
	}
	io.WriteString(c, "Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 5000))
	time.Sleep(300 * time.Millisecond) // so that they overlap
	io.WriteString(c, ".\r\n")
	reply, _ := r.ReadString('\n')
	return reply[:min(3, len(reply))]
}
