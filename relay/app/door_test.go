package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/smtptest"
)

// door is a relay made from a file in dir, as serve makes it.
type door struct {
	t      *testing.T
	dir    string
	app    *Relay
	logged *smtptest.Buffer
	stop   func()
}

// embedded is the engine that the tests' relays share: making one takes a second under the race detector.
var embedded = sync.OnceValue(func() *diagnose.Engine {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		panic(err)
	}
	return e
})

// openDoor starts a relay with the configuration conf; an error is that of the start. File names in conf
// are taken from dir.
func openDoor(t *testing.T, dir, conf string) (*door, error) {
	t.Helper()
	d := &door{t: t, dir: dir, logged: &smtptest.Buffer{}}
	cfg, err := d.load(conf)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(d.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if d.app, err = New(Options{Config: cfg, Engine: embedded(), Stdout: io.Discard, Log: log}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.app.Run(ctx) })
	d.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(d.stop)
	return d, nil
}

// write writes a file into the door's directory.
func (d *door) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// load reads conf as the relay's configuration file.
func (d *door) load(conf string) (*config.Config, error) {
	d.t.Helper()
	d.write("relay.toml", conf)
	return config.Load(config.Source{File: filepath.Join(d.dir, "relay.toml")})
}

// reload puts conf in the place of the configuration.
func (d *door) reload(conf string) error {
	d.t.Helper()
	cfg, err := d.load(conf)
	if err != nil {
		return err
	}
	return d.app.Reload(cfg)
}

// mustReload is reload for a configuration without a mistake.
func (d *door) mustReload(conf string) {
	d.t.Helper()
	if err := d.reload(conf); err != nil {
		d.t.Fatal(err)
	}
}

// visitor is a client of a door.
type visitor struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// visit connects to the door's n-th listener and says first, if that is not "".
func (d *door) visit(n int, first string) *visitor {
	d.t.Helper()
	c, err := net.Dial("tcp", d.app.Addrs()[n].String())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, first)
	return &visitor{d.t, c, bufio.NewReader(c)}
}

// say sends a line, unless it is "", and returns the reply, which is to begin with prefix.
func (v *visitor) say(line, prefix string) string {
	v.t.Helper()
	if line != "" {
		io.WriteString(v, line+"\r\n")
	}
	var reply string
	for {
		got, err := v.r.ReadString('\n')
		reply += got
		if err != nil || len(got) < 4 || got[3] != '-' {
			break
		}
	}
	if !strings.HasPrefix(reply, prefix) {
		v.t.Fatalf("to %.80q: %q, not %q", line, reply, prefix)
	}
	return reply
}

// secure starts TLS and returns the visitor above it.
func (v *visitor) secure(conf *tls.Config) *visitor {
	v.t.Helper()
	v.say("STARTTLS", "220")
	tc := tls.Client(v.Conn, conf)
	if err := tc.Handshake(); err != nil {
		v.t.Fatal(err)
	}
	return &visitor{v.t, tc, bufio.NewReader(tc)}
}

// mail sends a message whose body is text.
func (v *visitor) mail(text string) {
	v.t.Helper()
	v.say("MAIL FROM:<app@client.test>", "250")
	v.say("RCPT TO:<joe@example.test>", "250")
	v.say("DATA", "354")
	v.say("Subject: x\r\n\r\n"+text+"\r\n.", "250 2.0.0 ")
}

// plainAuth is the command for AUTH PLAIN.
func plainAuth(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

// userLine is a line of a users file, with a cheap hash.
func userLine(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + string(hash) + "\n"
}

// TestNeverRelaysForAStranger starts the relay with each configuration of a table, from the default to the
// careless, and has a stranger try to send through it. A configuration that would let strangers in does not
// start.
func TestNeverRelaysForAStranger(t *testing.T) {
	const (
		proxied  = "\n[[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.1/32\"]\n"
		world    = "\n[[listen]]\naddress = \"0.0.0.0:0\"\n"
		stranger = "PROXY TCP4 203.0.113.9 192.0.2.1 4000 25\r\n"
		farV6    = "PROXY TCP6 2a00:1450::1 2001:db8::1 4000 25\r\n"
	)
	nets := func(list ...string) string {
		return "\n[[client]]\nname = \"c\"\nnetworks = [\"" + strings.Join(list, `", "`) + "\"]\n"
	}
	users := "\n[access]\nusers_file = \"USERS\"\n"
	upstream := smtptest.New(t, smtptest.Options{})
	for _, tt := range []struct {
		name, conf, first string
		starts            bool
	}{
		{"the default, behind a proxy", proxied, stranger, true},
		{"the default, a stranger by IPv6", proxied, farV6, true},
		{"the default, a proxy that names nobody", proxied, "PROXY UNKNOWN\r\n", true},
		{"the default, a proxy's own check", proxied, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", true},
		{"the default, a socket of the proxy's host", proxied,
			"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("\x00", 216), true},
		{"all addresses, for another network", world + nets("10.0.0.0/8"), "", true},
		{"all addresses, for private networks",
			world + nets("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"), "", true},
		{"all addresses, for one other client", world + nets("127.0.0.9/32"), "", true},
		{"a client that says it is a proxy", world + nets("10.0.0.0/8"),
			"PROXY TCP4 10.0.0.1 192.0.2.1 4000 25\r\n", true},
		{"private networks behind a proxy", proxied + nets("10.0.0.0/8", "127.0.0.0/8"), stranger, true},
		{"an office's networks", proxied + nets("203.0.112.0/24", "2001:db8:1::/48"), stranger, true},
		{"a /8 of another organization", proxied + nets("17.0.0.0/8"), stranger, true},
		{"users only", world + nets("10.0.0.0/8") + users, "", true},
		{"users only, behind a proxy", proxied + users, stranger, true},
		{"everybody, but AUTH required",
			proxied + nets("0.0.0.0/0", "::/0") + users + "require_auth = true\n", stranger, true},
		{"everybody, to our own recipients",
			proxied + nets("0.0.0.0/0", "::/0") + "\n[access]\nallow_recipients = [\"@own.test\"]\n",
			stranger, true},
		{"senders allowed, nothing else", proxied + "\n[access]\nallow_senders = [\"@client.test\"]\n",
			stranger, true},
		{"recipients allowed, nothing else", proxied + "\n[access]\nallow_recipients = [\"@example.test\"]\n",
			stranger, true},
		{"TLS on all addresses",
			world + nets("10.0.0.0/8") + "\n[tls]\ncert_file = \"CERT\"\nkey_file = \"KEY\"\n", "", true},
		{"everybody behind a proxy", proxied + nets("0.0.0.0/0"), stranger, false},
		{"everybody by IPv6 behind a proxy", proxied + nets("::/0"), farV6, false},
		{"everybody in two halves", proxied + nets("0.0.0.0/1", "128.0.0.0/1"), stranger, false},
		{"everybody as IPv4 in IPv6", world + nets("::ffff:0:0/96"), "", false},
		{"everybody in small parts", proxied + nets(eighths()...), stranger, false},
		{"everybody on all addresses", world + nets("0.0.0.0/0"), "", false},
		{"everybody beside users", world + nets("0.0.0.0/0") + users, "", false},
		{"PROXY headers of everybody",
			"\n[[listen]]\naddress = \"0.0.0.0:0\"\nproxy_protocol = [\"0.0.0.0/0\"]\n", stranger, false},
		{"AUTH required and no users", world + nets("0.0.0.0/0") + "\n[access]\nrequire_auth = true\n", "",
			false},
		{"recipients \"*\"", world + nets("0.0.0.0/0") + "\n[access]\nallow_recipients = [\"*\"]\n", "",
			false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			id := smtptest.NewCertificate(t, "relay.test")
			d := &door{t: t, dir: dir}
			d.write("users", userLine(t, "app", "right"))
			d.write("crt", string(id.CertPEM))
			d.write("key", string(id.KeyPEM))
			files := strings.NewReplacer("USERS", dir+"/users", "CERT", dir+"/crt", "KEY", dir+"/key")
			conf := files.Replace(tt.conf)
			d, err := openDoor(t, dir, plainDoor(dir, upstream.URL())+conf)
			if (err == nil) != tt.starts {
				t.Fatalf("start: %v", err)
			}
			if err != nil {
				return
			}
			v := d.visit(0, tt.first)
			v.try()
			d.stop()
		})
	}
	if got := upstream.Messages(); len(got) > 0 {
		t.Errorf("%d messages of strangers came through", len(got))
	}
}

// try sends a message by every means that a stranger has; none of it may be accepted.
func (v *visitor) try() {
	for _, line := range []string{
		"EHLO stranger.test", plainAuth("app", "wrong"), plainAuth("", ""), "MAIL FROM:<app@client.test>",
		"RCPT TO:<joe@example.test>",
		"RCPT TO:<joe%example.test@relay.test>", "RCPT TO:<@relay.test:joe@example.test>", "DATA",
		"Subject: x\r\n\r\nx\r\n.", "RSET",
		"MAIL FROM:<> AUTH=<app@client.test>", "RCPT TO:<joe@example.test>", "DATA", "x\r\n.", "QUIT",
	} {
		io.WriteString(v, line+"\r\n")
	}
	replies, _ := io.ReadAll(v.r)
	refused := bytes.HasPrefix(replies, []byte("421 4.7.1 No clients are named yet")) ||
		bytes.Contains(replies, []byte("\n5"))
	if bytes.Contains(replies, []byte("queued as")) || !refused {
		v.t.Errorf("a stranger was told %q", replies)
	}
}

// eighths are the IPv4 networks of eight bits.
func eighths() (list []string) {
	for i := range 224 {
		list = append(list, fmt.Sprintf("%d.0.0.0/8", i))
	}
	return list
}

// plainDoor is the part of a configuration that all have here.
func plainDoor(dir, upstream string) string {
	return fmt.Sprintf("hostname = \"relay.test\"\nshutdown_grace = \"1s\"\n[spool]\ndir = %q\n"+
		"[delivery_log]\nfile = %q\n[upstream.default]\nurl = %q\n",
		dir+"/spool", dir+"/log", upstream)
}

// TestNothingSecretIsLogged: neither passwords nor contents reach a log, whatever goes wrong with them.
func TestNothingSecretIsLogged(t *testing.T) {
	const password, guess, body = "pass-of-the-user", "pass-that-was-guessed", "words-of-a-body"
	dir := t.TempDir()
	id := smtptest.NewCertificate(t, "relay.test")
	files := &door{t: t, dir: dir}
	files.write("crt", string(id.CertPEM))
	files.write("key", string(id.KeyPEM))
	files.write("users", userLine(t, "app", password))
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	d, err := openDoor(t, dir,
		plainDoor(dir, upstream.URL())+
			fmt.Sprintf("[[listen]]\naddress = \"127.0.0.1:0\"\n[tls]\ncert_file = %q\nkey_file = %q\n"+
				"[access]\nusers_file = %q\n[log]\nlevel = \"debug\"\n",
				dir+"/crt", dir+"/key", dir+"/users"))
	if err != nil {
		t.Fatal(err)
	}
	begin := func() *visitor {
		v := d.visit(0, "")
		v.say("", "220")
		v.say("EHLO client.test", "250")
		return v
	}
	clear := begin()
	clear.say(plainAuth("app", password), "538")
	v := clear.secure(trusting(id))
	v.say("EHLO client.test", "250")
	v.say(plainAuth("app", guess), "535")
	v.say("AUTH LOGIN", "334")
	v.say(base64.StdEncoding.EncodeToString([]byte("app")), "334")
	v.say(base64.StdEncoding.EncodeToString([]byte(guess)), "535")
	v.say("AUTH PLAIN "+guess, "501")
	v.say(plainAuth("app", password), "235")
	v.mail(body)
	v.say("MAIL FROM:<app@client.test>", "250")
	v.say("RCPT TO:<550-5.1.1+data@any.test>", "250") // refused at the upstream's end of data
	v.say("DATA", "354")
	v.say(body+"\r\n.", "250")
	arrives(t, upstream, 2) // the bounce is one of them
	v.say(body, "500")      // as a command
	for _, bad := range []string{body + "\n", body + "\r.", body + "\x00\r\n",
		strings.Repeat(body, 1<<17) + "\r\n."} {
		v := begin()
		v.say("MAIL FROM:<app@client.test>", "250")
		v.say("RCPT TO:<joe@example.test>", "250")
		v.say("DATA", "354")
		v.say(bad, "554")
	}
	d.stop()
	delivery, err := os.ReadFile(dir + "/log")
	if err != nil || len(delivery) == 0 {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"the log": d.logged.String(),
		"the delivery log": string(delivery)} {
		for _, secret := range []string{password, guess, body} {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)),
				plainAuth("app", secret)[len("AUTH PLAIN "):]} {
				if strings.Contains(text, form) {
					t.Errorf("%s has %q: %s", name, form, text)
				}
			}
		}
	}
}

// TestListenKeepsFiles: a socket that a dead process left is replaced, one in use and a file of another
// kind are not.
func TestListenKeepsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket := smtpd.Listen{Network: "unix", Addr: path}
	first, err := socket.Open(0o600)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if l, err := socket.Open(0o600); err == nil {
		l.Close()
		t.Error("a socket in use is taken over")
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := socket.Open(0o600)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := socket.Open(0o600); err == nil {
		l.Close()
		t.Error("a file gave way to a socket")
	}
	if b, err := os.ReadFile(path); string(b) != "kept" {
		t.Errorf("%q %v", b, err)
	}
}
