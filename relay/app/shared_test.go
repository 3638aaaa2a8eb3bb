package app

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m)) }

// sharedDoor is a relay that has its spool in a database.
func sharedDoor(t *testing.T, url, upstream string) *door {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // not TempDir: the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := strings.Replace(plainDoor(dir, upstream), "[spool]", "[spool]\nengine = \"postgres\"\n"+
		"durability = \"single\"\nurl_file = \""+dir+"/url\"", 1) +
		"[cluster]\nheartbeat = \"1s\"\ndead_after = \"20s\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n"
	if err := os.WriteFile(filepath.Join(dir, "url"), []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDoor(t, dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	<-d.app.Ready()
	return d
}

// TestSharedSpool has two relays with one spool on PostgreSQL. What both accept is relayed once, each shows
// the mail of both, and what a relay could not relay is relayed by the other one when it has stopped.
func TestSharedSpool(t *testing.T) {
	url := postgrestest.Database(t)
	up := smtptest.New(t, smtptest.Options{})
	one := sharedDoor(t, url, "smtp://"+up.Addr()+"?tls=none")
	two := sharedDoor(t, url, "smtp://"+up.Addr()+"?tls=none")
	for _, d := range []*door{one, two} {
		v := d.visit(0, "")
		v.say("", "220")
		v.say("EHLO client.test", "250")
		for i := range 10 {
			v.mail(fmt.Sprint("mail ", i))
		}
	}
	smtptest.WaitFor(t, "all to be relayed", func() bool { return len(up.Messages()) >= 20 })
	smtptest.WaitFor(t, "the queue to be empty", func() bool {
		st, err := admin.NewClient(two.dir + "/spool/admin.sock").Health(t.Context())
		return err == nil && st.Spool.Messages == 0
	})
	if n := len(up.Messages()); n != 20 {
		t.Errorf("%d messages were relayed, want 20", n)
	}
	if len(one.app.key) != 32 || !bytes.Equal(one.app.key, two.app.key) {
		t.Error("the relays do not know each other's reports")
	}
	h, err := admin.NewClient(one.dir + "/spool/admin.sock").Health(t.Context())
	if err != nil || len(h.Members) != 2 {
		t.Errorf("%d members, %v", len(h.Members), err)
	}
}

// TestSharedSpoolHandOver: a relay whose upstream is away leaves its mail to the one that can relay it.
func TestSharedSpoolHandOver(t *testing.T) {
	url := postgrestest.Database(t)
	away := sharedDoor(t, url, "smtp://127.0.0.1:9?tls=none")
	v := away.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.mail("to be handed over")
	away.stop()
	up := smtptest.New(t, smtptest.Options{})
	sharedDoor(t, url, "smtp://"+up.Addr()+"?tls=none")
	smtptest.WaitFor(t, "the mail to be relayed", func() bool { return len(up.Messages()) == 1 })
}

// TestSharedSpoolAway: a relay does not start without its database, and says so without the password.
func TestSharedSpoolAway(t *testing.T) {
	dir := t.TempDir()
	conf := strings.Replace(plainDoor(dir, "smtp://127.0.0.1:9?tls=none"), "[spool]",
		"[spool]\nengine = \"postgres\"\nurl = \"postgres://u:secretword@127.0.0.1:9/d?sslmode=disable\"", 1)
	_, err := openDoor(t, dir, conf)
	if err == nil || strings.Contains(err.Error(), "secretword") || !strings.Contains(err.Error(),
		"refused") {
		t.Errorf("%v", err)
	}
}
