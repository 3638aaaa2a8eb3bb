package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// TestAddressesAreHashed: with log.addresses nobody is named in the delivery log, to webhooks or in metrics,
// in the upstream's words either, while bounces go to the sender as ever. A reload changes it.
func TestAddressesAreHashed(t *testing.T) {
	s, tk := eventScene(t, `events = ["all"]`)
	s.stop()
	s.conf = strings.Replace(s.conf, "[spool]", "[log]\naddresses = \"hash\"\n"+
		"[page]\nhistory = \"on\"\n[spool]", 1)
	before := len(s.log.String())
	s.start()
	s.submit("joe.smith@x.test")
	hash := ""
	smtptest.WaitFor(t, "the refusal in the log", func() bool {
		s.app.FlushLog()
		_, rest, found := strings.Cut(s.log.String()[before:], `"event":"failed"`)
		if found {
			_, rest, _ = strings.Cut(rest, `"to":"`)
			hash, _, _ = strings.Cut(rest, `"`)
		}
		return found
	})
	if !strings.HasPrefix(hash, "h-") || !strings.HasSuffix(hash, "@x.test") {
		t.Errorf("the recipient is %q", hash)
	}
	if m := s.bounce(); !strings.Contains(m, "joe.smith@x.test") {
		t.Errorf("the bounce does not name the recipient:\n%s", m)
	}
	tk.wait("message.failed", hash)
	s.line(relay.EventDSN, hash)
	if log := s.log.String()[before:]; strings.Contains(log, "joe.smith") || strings.Contains(log, "app@") {
		t.Errorf("the log names people:\n%s", log)
	}
	var kept []byte
	smtptest.WaitFor(t, "the history of the page", func() bool {
		kept = nil
		for _, end := range []string{"", "-wal"} {
			b, _ := os.ReadFile(filepath.Join(s.dir, "spool", "history.db"+end))
			kept = append(kept, b...)
		}
		return bytes.Contains(kept, []byte(hash))
	})
	if bytes.Contains(kept, []byte("joe.smith")) {
		t.Error("the history of the page names the recipient")
	}
	s.conf = strings.Replace(s.conf, `"hash"`, `"domain"`, 1)
	if err := s.app.Reload(s.load()); err != nil {
		t.Fatal(err)
	}
	s.submit("full@x.test")
	s.line(relay.EventDeferred, "*@x.test")
}
