package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay/lifecycle/systemd"
	"mailwhy/relay/smtptest"
)

// ownProcessors has the runtime choose their number, and returns it.
func ownProcessors(t *testing.T) int {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	t.Setenv("GOMAXPROCS", "")
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

// TestServeOnProcessors shows that serve runs on one processor until there is a second client, or mail that
// waits.
func TestServeOnProcessors(t *testing.T) {
	own := ownProcessors(t)
	if own == 1 {
		t.Skip("skipping: there is one processor only")
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // an upstream that never greets
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	dir := t.TempDir()
	socket := filepath.Join(dir, "smtp")
	src := config.Source{Flags: []config.Flag{
		{Name: "--listen", Key: "listen", Value: "unix:" + socket},
		{Name: "--spool", Key: "spool.dir", Value: filepath.Join(dir, "spool")},
		{Name: "--upstream", Key: "upstream", Value: "smtp://" + mute.Addr().String() + "?tls=none"},
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serve(ctx, loader{source: src}, io.Discard, io.Discard) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	awaitProcessors(t, "idle", 1)
	first := dialDoor(t, socket)
	time.Sleep(500 * time.Millisecond) // it looks every 100
	awaitProcessors(t, "one client", 1)
	second := dialDoor(t, socket)
	awaitProcessors(t, "two clients", own)
	second.Close()
	awaitProcessors(t, "one client again", 1)
	for range 30 { // more than there are connections to the upstream
		sendThrough(t, first)
	}
	awaitProcessors(t, "mail that waits for a connection", own)
}

// awaitProcessors waits until the runtime has want processors.
func awaitProcessors(t *testing.T, when string, want int) {
	t.Helper()
	smtptest.WaitFor(t, fmt.Sprintf("%d processors: %s", want, when),
		func() bool { return runtime.GOMAXPROCS(0) == want })
}

// dialDoor is a client of the front door at a unix socket.
func dialDoor(t *testing.T, socket string) *smtp.Client {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sendThrough hands a message in.
func sendThrough(t *testing.T, c *smtp.Client) {
	t.Helper()
	err := errors.Join(c.Mail("a@shop.example"), c.Rcpt("b@customer.example"))
	w, dataErr := c.Data()
	if err = errors.Join(err, dataErr); err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, "Subject: x\r\n\r\nx\r\n")
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestReloadOn: at each signal the configuration is read again, and a mistake leaves the old one in force.
func TestReloadOn(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	dir := t.TempDir()
	src := config.Source{File: filepath.Join(dir, "relay.toml")}
	put := func(more string) {
		t.Helper()
		text := fmt.Sprintf("%s\n[[listen]]\naddress = \"127.0.0.1:0\"\n[spool]\ndir = %q\n"+
			"[upstream.default]\nurl = %q\n",
			more, filepath.Join(dir, "spool"), upstream.URL())
		if err := os.WriteFile(src.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("")
	cfg, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	var logged smtptest.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	r, err := newRelay(cfg, io.Discard, log)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, stop := context.WithCancel(t.Context())
	hup, ended := make(chan os.Signal), make(chan struct{})
	go func() { reloadOn(ctx, hup, loader{source: src}, r, systemd.New(r.Life(), log), log); close(ended) }()
	defer func() { stop(); <-ended }()
	for _, tt := range []struct{ conf, logs string }{
		{conf: `hostname = "other.test"`, logs: "configuration reloaded"},
		{conf: `nonsense = 1`, logs: "the old one stays in force"},
		{conf: `hostname = "third.test"`, logs: "configuration reloaded"},
	} {
		before := len(logged.String())
		put(tt.conf)
		hup <- syscall.SIGHUP
		smtptest.WaitFor(t, tt.logs,
			func() bool { return strings.Contains(logged.String()[before:], tt.logs) })
	}
}
