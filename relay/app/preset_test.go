package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/preset"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// provided is a relay whose upstream imitates a provider, set up by the provider's preset.
type provided struct {
	*door
	as     *preset.Preset
	server *smtptest.Server
}

// openProvided starts both. The imitation refuses recipients that begin with "unknown"; more goes into
// [upstream.default].
func openProvided(t *testing.T, name, more string, s imitation.Settings) *provided {
	t.Helper()
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	i, err := imitation.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	id := smtptest.NewCertificate(t, "127.0.0.1")
	o, err := i.Options(smtptest.Options{TLS: id.Server(), Script: func(c smtptest.Command) smtptest.Action {
		if strings.HasPrefix(c.Line, "RCPT") && strings.HasPrefix(c.Address, "unknown") {
			return smtptest.Action{Reply: "550 5.1.1 No such user"}
		}
		return smtptest.Action{}
	}}, s)
	if err != nil {
		t.Fatal(err)
	}
	p := &provided{as: set.ByName(name), server: smtptest.New(t, o)}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), id.CertPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`hostname = "relay.example.com"
listen = "127.0.0.1:0"
[spool]
dir = %q
[delivery_log]
file = %q
[dsn]
fallback_sender = "bounces@example.com"
collect = "100ms"
[upstream.default]
preset = %q
host = "127.0.0.1"
port = %d
tls = %q
ca_file = %q
username = "u@a.test"
%s
`, dir+"/spool", dir+"/log", name, p.server.Port(), string(p.as.Ports.Value[0].Mode), dir+"/ca.pem", more)
	if p.door, err = openDoor(t, dir, conf); err != nil {
		t.Fatal(err)
	}
	return p
}

// send hands a message to the relay, for to.
func (p *provided) send(to ...string) {
	p.t.Helper()
	v := p.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.say("MAIL FROM:<app@a.test>", "250")
	for _, rcpt := range to {
		v.say("RCPT TO:<"+rcpt+">", "250")
	}
	v.say("DATA", "354")
	v.say("Subject: x\r\n\r\nx\r\n.", "250")
	v.say("QUIT", "221")
}

// events are those of the delivery log.
func (p *provided) events() (all []deliveryEvent) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var e deliveryEvent
		if err := json.Unmarshal(line, &e); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// deliveryEvent is a line of the delivery log.
type deliveryEvent struct {
	Event, To, Reply string
	Attempt          int
}

// relayed waits until n recipients are relayed, and reports those that were not at the first attempt.
func (p *provided) relayed(n int) {
	p.t.Helper()
	count := func() (done int) {
		for _, e := range p.events() {
			if e.Event == "relayed" {
				done++
			}
		}
		return done
	}
	smtptest.WaitFor(p.t, fmt.Sprintf("%d relayed recipients", n), func() bool { return count() >= n })
	for _, e := range p.events() {
		if e.Event == "deferred" || e.Event == "relayed" && e.Attempt != 1 {
			p.t.Errorf("%+v", e)
		}
	}
}

// TestPresets: with nothing but a preset and credentials, mail goes through the imitation of each provider at
// the first attempt, also to more recipients than one transaction may have, and a bounce has the sender that
// the provider takes.
func TestPresets(t *testing.T) {
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range set.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			users := map[string]string{"u@a.test": "p"}
			p := openProvided(t, name, `password = "p"`, imitation.Settings{Users: users})
			many := []string{"unknown@b.test"}
			for n := range min(p.as.Recipients.Value, 100) + 1 {
				many = append(many, fmt.Sprintf("r%d@b.test", n))
			}
			p.send(many...)
			p.relayed(len(many) - 1 + 1) // and the bounce
			from := "bounces@example.com"
			if p.as.TakesNullSender() {
				from = ""
			}
			bounces := 0
			for _, m := range p.server.Messages() {
				if m.From != "app@a.test" {
					bounces++
					if m.From != from || m.To[0].Address != "app@a.test" {
						t.Errorf("a bounce from <%s> to %q, want one from <%s>", m.From, m.To, from)
					}
				}
			}
			if bounces != 1 {
				t.Errorf("%d bounces", bounces)
			}
		})
	}
}

// TestAWSSecret: a secret access key logs in with the password that is derived from it, from a file too.
func TestAWSSecret(t *testing.T) {
	const key, password = "some+secret+key", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{fmt.Sprintf("password = %q", key), fmt.Sprintf("password_file = %q", file)} {
		p := openProvided(t, "ses", how+"\npassword_kind = \"aws_secret\"\nregion = \"eu-central-1\"",
			imitation.Settings{Users: map[string]string{"u@a.test": password}})
		p.send("b@b.test")
		p.relayed(1)
	}
}

// TestIdleCutOfSES: one message every 11 s to a server that cuts idle connections after 10 s, five times as
// fast. It is the whole relay in real time; 1,000 messages in fake time are a test of relay/upstream.
func TestIdleCutOfSES(t *testing.T) {
	t.Parallel()
	p := openProvided(t, "ses", "password = \"p\"\nidle_timeout = \"1s\"", imitation.Settings{Speed: 5})
	const messages = 5
	next := time.NewTicker(11 * time.Second / 5)
	defer next.Stop()
	for range messages {
		p.send("b@b.test")
		<-next.C
	}
	p.relayed(messages)
	if s := p.server.Stats(); s.Sessions != messages {
		t.Errorf("%d connections for %d messages", s.Sessions, messages)
	}
}

// TestRawSecretIsNamed: the start of a relay names a raw secret access key in the place of the password, and
// does not show it.
func TestRawSecretIsNamed(t *testing.T) {
	const raw = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	p := openProvided(t, "ses", fmt.Sprintf("password = %q", raw), imitation.Settings{})
	if logged := p.logged.String(); !strings.Contains(logged, "raw AWS secret access key") ||
		strings.Contains(logged, raw) {
		t.Errorf("logged %s", logged)
	}
}
