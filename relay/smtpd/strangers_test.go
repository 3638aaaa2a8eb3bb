package smtpd

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

// TestStrangersAreLoggedOnce: a line a client and an hour, and a bounded number of them.
func TestStrangersAreLoggedOnce(t *testing.T) {
	var logged smtptest.Buffer
	now := time.Now()
	o := &Options{Log: slog.New(slog.NewTextHandler(&logged, nil)), Now: func() time.Time { return now }}
	var s strangers
	count := func() int { return strings.Count(logged.String(), "MAILWHY_CLIENT") }
	for range 3 {
		s.note(o, "10.0.0.1")
	}
	if n := count(); n != 1 {
		t.Errorf("%d lines for a client", n)
	}
	for i := range 2 * maxStrangers {
		s.note(o, fmt.Sprint("10.0.1.", i))
	}
	if n := count(); n != maxStrangers {
		t.Errorf("%d lines for many clients", n)
	}
	now = now.Add(strangerAgain)
	s.note(o, "10.0.0.1")
	if n := count(); n != maxStrangers+1 {
		t.Errorf("%d lines after an hour", n)
	}
}

// TestAddressFamilies: 0.0.0.0 is IPv4 only, [::] and no host are both.
func TestAddressFamilies(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("skipping: this machine has no IPv6: %v", err)
	} else {
		l.Close()
	}
	for host, families := range map[string][]string{
		"0.0.0.0": {"127.0.0.1"}, "[::]": {"127.0.0.1", "[::1]"}, "": {"127.0.0.1", "[::1]"},
	} {
		l, err := (&Listen{Network: "tcp", Addr: host + ":0"}).Open(0)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		var reached []string
		for _, at := range []string{"127.0.0.1", "[::1]"} {
			if c, err := net.Dial("tcp", at+":"+port); err == nil {
				c.Close()
				reached = append(reached, at)
			}
		}
		if fmt.Sprint(reached) != fmt.Sprint(families) {
			t.Errorf("%q is reached at %v, want %v", host, reached, families)
		}
	}
}
