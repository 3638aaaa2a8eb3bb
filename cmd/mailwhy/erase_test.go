package main

import (
	"fmt"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// TestErase: what is stored about an address is counted, and goes only with --yes; mail to others stays.
func TestErase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	addr, _ := startRelay(t, dir)
	send := func(from string, to ...string) {
		t.Helper()
		if err := smtp.SendMail(addr, nil, from, to, []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	const bob, eve = "452-4.2.2+bob@x.test", "452-4.2.2+eve@x.test"
	send("app@shop.test", bob)
	send("app@shop.test", bob, eve)
	send("app@shop.test", eve)
	send(bob, eve)
	erase := func(args ...string) (int, string, string) {
		return command(t, append([]string{"erase", "--spool", dir}, args...)...)
	}
	smtptest.WaitFor(t, "the mail in the queue", func() bool { return len(listed(t, "--spool", dir)) == 4 })
	const counted = "     2  messages in the queue from it or to nobody else\n" +
		"     1  messages in the queue to others too: they stay until they are done\n"
	status, out, errOut := erase(strings.ToUpper(bob))
	if status != 0 || !strings.Contains(out, counted) || !strings.HasSuffix(out, "--yes does it\n") ||
		!strings.Contains(out, "the history of the page is off") {
		t.Errorf("%d\n%s%s", status, out, errOut)
	}
	if n := len(listed(t, "--spool", dir)); n != 4 {
		t.Errorf("%d messages are left before --yes", n)
	}
	if status, out, errOut := erase("--yes", bob); status != 0 || !strings.Contains(out, counted) {
		t.Errorf("%d\n%s%s", status, out, errOut)
	}
	left := listed(t, "--spool", dir)
	if len(left) != 2 || strings.Contains(fmt.Sprint(left[0].From, left[1].From), "bob") {
		t.Errorf("left are %+v", left)
	}
	if status, out, errOut := command(t, "suppress", "add", bob, "--spool", dir); status != 0 {
		t.Fatalf("%d\n%s%s", status, out, errOut)
	}
	if status, _, errOut := erase("--yes", bob); status != exitUsage ||
		!strings.Contains(errOut, "--suppression keep") {
		t.Errorf("%d\n%s", status, errOut)
	}
	if status, out, errOut := erase("--yes", "--suppression", "remove", bob); status != 0 {
		t.Errorf("%d\n%s%s", status, out, errOut)
	}
	if _, out, _ := erase(bob); !strings.Contains(out, "     0  entries on the suppression list\n") {
		t.Errorf("afterwards\n%s", out)
	}
	for _, args := range [][]string{{"bob"}, {bob, "--suppression", "maybe"}} {
		if status, _, errOut := erase(args...); status != exitUsage {
			t.Errorf("%v: %d, %s", args, status, errOut)
		}
	}
}

// TestEraseHistory: what the history of the page has of an address goes too, in the form that log.addresses
// keeps, with what the erasure itself adds to it; events of others stay.
func TestEraseHistory(t *testing.T) {
	const bob, eve = "452-4.2.2+bob@x.test", "452-4.2.2+eve@x.test"
	for _, addresses := range []string{"full", "hash"} {
		dir := filepath.Join(t.TempDir(), "spool")
		upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
		cfg, err := config.Load(config.Source{Flags: []config.Flag{
			{Name: "--listen", Key: "listen", Value: "127.0.0.1:0"},
			{Name: "--spool", Key: "spool.dir", Value: dir},
			{Name: "--upstream", Key: "upstream", Value: "smtp://" + upstream.Addr() + "?tls=none"},
			{Name: "--history", Key: "page.history", Value: "on"},
			{Name: "--addresses", Key: "log.addresses", Value: addresses},
		}})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := runRelay(t, cfg)
		for _, to := range []string{bob, eve} {
			err := smtp.SendMail(r.Addrs()[0].String(), nil, "app@shop.test", []string{to},
				[]byte("Subject: x\r\n\r\nx\r\n"))
			if err != nil {
				t.Fatal(err)
			}
		}
		client := admin.NewClient(cfg.Admin.Socket)
		events := func(address string) int64 {
			t.Helper()
			e, err := client.EraseEvents(t.Context(), address, false)
			if err != nil {
				t.Fatal(err)
			}
			return e.Events
		}
		smtptest.WaitFor(t, "the deferrals", func() bool { return events(bob) == 2 && events(eve) == 2 })
		const counted = "     2  events in the history of the page\n"
		for _, args := range [][]string{{bob}, {bob, "--yes"}} {
			status, out, errOut := command(t, append([]string{"erase", "--spool", dir}, args...)...)
			if status != 0 || !strings.Contains(out, counted) {
				t.Errorf("%s: %v: %d\n%s%s", addresses, args, status, out, errOut)
			}
		}
		if b, e := events(bob), events(eve); b != 0 || e != 2 {
			t.Errorf("%s: left are %d events of the address, %d of the other", addresses, b, e)
		}
	}
}
