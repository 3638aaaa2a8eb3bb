package mailbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postfix"
)

// TestRealDovecot reads a mailbox of Dovecot's, by password and by token, with IDLE, and does everything that
// After knows. scripts/upstream-test.sh runs it.
func TestRealDovecot(t *testing.T) {
	d := startDovecot(t)
	token := func(life time.Duration) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) { return dovecotToken(life), nil }
	}
	for n, c := range []struct {
		after string
		mode  tlsconf.Mode
		token func(context.Context, string) (string, error)
		left  []string // files of INBOX's cur and new, by their flags
		moved string   // flags of the file in the folder
	}{
		{after: "leave", mode: tlsconf.StartTLS, left: []string{"", ""}},
		{after: "seen", mode: tlsconf.Implicit, left: []string{"", "S"}},
		{after: "delete", mode: tlsconf.Implicit, token: token(time.Hour), left: []string{""}},
		{after: "move:Bounces", mode: tlsconf.StartTLS, token: token(time.Hour), left: []string{""}},
	} {
		box, log := &inbox{}, &smtptest.Buffer{}
		d.empty(t)
		d.deliver(t, "1.person", personMail(1))
		o := d.options(t, c.mode, box, log)
		if c.token != nil {
			o.Password, o.Token = "", c.token
		}
		o.After, _ = ParseAfter(c.after)
		stop := runIMAP(t, o)
		box.waitFor(t, "question 1")
		d.deliver(t, "2.bounce", bounceMail(n)) // Dovecot tells of it in IDLE
		box.waitFor(t, "question 1", fmt.Sprint("bounce ", n))
		smtptest.WaitFor(t, "the treatment of "+c.after, func() bool {
			return slices.Equal(d.flags(t, ""), c.left)
		})
		if moved := d.flags(t, ".Bounces"); strings.HasPrefix(c.after, "move") != (len(moved) == 1) {
			t.Errorf("%s: moved %q", c.after, moved)
		}
		stop()
		if log.String() != "" {
			t.Errorf("%s: %s", c.after, log)
		}
	}
	for _, wrong := range []func(*IMAPOptions){
		func(o *IMAPOptions) { o.Password = "wrong" },
		func(o *IMAPOptions) { o.Password, o.Token = "", token(-time.Hour) },
	} {
		log := &smtptest.Buffer{}
		o := d.options(t, tlsconf.Implicit, &inbox{}, log)
		wrong(&o)
		stop := runIMAP(t, o)
		smtptest.WaitFor(t, "the refusal", func() bool {
			return strings.Contains(log.String(), "refuses the credentials")
		})
		stop()
	}
}

// runIMAP reads a mailbox until the returned function is called.
func runIMAP(t *testing.T, o IMAPOptions) (stop func()) {
	t.Helper()
	b, err := NewIMAP(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// dovecot is a running server.
type dovecot struct {
	dir, ca         string
	clear, implicit int
}

func (d *dovecot) options(t *testing.T, mode tlsconf.Mode, box *inbox, log *smtptest.Buffer) IMAPOptions {
	port := d.clear
	if mode == tlsconf.Implicit {
		port = d.implicit
	}
	return IMAPOptions{Host: "127.0.0.1", Port: port, Username: "user", Password: "secret", Folder: "INBOX",
		TLS:       TLS{Mode: mode, CAFile: d.ca, MinVersion: tls.VersionTLS12},
		StateFile: filepath.Join(t.TempDir(), "state"), MaxSize: 1 << 20, Poll: time.Hour,
		Renew: 20 * time.Minute, Timeout: 20 * time.Second, Backoff: time.Second, MaxBackoff: time.Minute,
		Take: box.take, Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now}
}

// deliver puts a mail into the maildir that Dovecot serves.
func (d *dovecot) deliver(t *testing.T, name, mail string) {
	t.Helper()
	tmp := filepath.Join(d.dir, "home/mail/tmp", name)
	if err := os.WriteFile(tmp, []byte(mail), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tmp, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(d.dir, "home/mail/new", name)); err != nil {
		t.Fatal(err)
	}
}

// empty removes all mail, and all that Dovecot knows of it.
func (d *dovecot) empty(t *testing.T) {
	t.Helper()
	mail := filepath.Join(d.dir, "home/mail")
	if err := os.RemoveAll(mail); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(mail, sub), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(mail, sub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

// flags are those of the files of a folder, sorted.
func (d *dovecot) flags(t *testing.T, folder string) []string {
	t.Helper()
	var flags []string
	for _, sub := range []string{"new", "cur"} {
		entries, _ := os.ReadDir(filepath.Join(d.dir, "home/mail", folder, sub)) // none: no such folder
		for _, e := range entries {
			_, f, _ := strings.Cut(e.Name(), ":2,")
			flags = append(flags, f)
		}
	}
	slices.Sort(flags)
	return flags
}

// startDovecot runs Dovecot without installing it. It looks for its programs and modules under /usr, so it
// sees the unpacked files there, in a mount namespace of its own.
func startDovecot(t *testing.T) *dovecot {
	root := os.Getenv("MAILWHY_SERVERS")
	if root == "" || os.Getuid() != 0 {
		t.Skip("skipping: Dovecot is not unpacked, or we are not root: run scripts/upstream-test.sh")
	}
	dir, err := os.MkdirTemp("", "mailwhy-real")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &dovecot{dir: dir, ca: filepath.Join(dir, "ca.pem"), clear: freePort(t), implicit: freePort(t)}
	id := smtptest.NewCertificate(t, "127.0.0.1")
	r := strings.NewReplacer("DIR", dir, "CLEARPORT", strconv.Itoa(d.clear), "IMPLICITPORT",
		strconv.Itoa(d.implicit))
	for name, text := range map[string]string{
		"cert.pem": string(id.CertPEM), "key.pem": string(id.KeyPEM), "ca.pem": string(id.CAPEM),
		"dovecot.conf": r.Replace(dovecotConf), "oauth2.conf": r.Replace(dovecotOAuth),
		"users":                      "user:{PLAIN}secret\n",
		"keys/default/HS256/default": base64.StdEncoding.EncodeToString([]byte(dovecotKey)),
		"home/.keep":                 "",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Join(dir, "home"), 0o777)
	d.empty(t)
	d.launch(t, root)
	return d
}

// launch starts the server and waits until it answers.
func (d *dovecot) launch(t *testing.T, root string) {
	t.Helper()
	cmd := exec.Command("unshare", "-m", "sh", "-c",
		`mount -t overlay overlay -o "lowerdir=$1/usr:/usr" /usr && exec /usr/sbin/dovecot -F -c "$2"`,
		"sh", root, filepath.Join(d.dir, "dovecot.conf"))
	cmd.Env = postfix.Libraries(root)
	out := &smtptest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if t.Failed() {
			t.Log(out)
		}
	})
	smtptest.WaitFor(t, "Dovecot", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(d.clear)))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

const dovecotKey = "a key of thirty-two bytes, or so"

// dovecotToken is a JWT that Dovecot verifies with dovecotKey.
func dovecotToken(life time.Duration) string {
	now := time.Now()
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Appendf(nil, `{"sub":"user","iat":%d,"exp":%d}`, now.Add(-2*time.Hour).Unix(),
		now.Add(life).Unix())
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(dovecotKey))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

const dovecotConf = `base_dir = DIR/run
state_dir = DIR/state
default_internal_user = mail
default_internal_group = mail
default_login_user = nobody
log_path = /dev/stderr
auth_verbose = yes
import_environment = LD_LIBRARY_PATH
protocols = imap
listen = 127.0.0.1
hostname = real.test
first_valid_uid = 1
mail_location = maildir:DIR/home/mail
ssl = required
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
auth_mechanisms = plain xoauth2 oauthbearer
auth_failure_delay = 0
passdb {
  driver = passwd-file
  mechanisms = plain
  args = DIR/users
}
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = DIR/oauth2.conf
}
userdb {
  driver = static
  args = uid=mail gid=mail home=DIR/home
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = CLEARPORT
  }
  inet_listener imaps {
    port = IMPLICITPORT
    ssl = yes
  }
}
`

const dovecotOAuth = `introspection_mode = local
local_validation_key_dict = fs:posix:prefix=DIR/keys/
username_attribute = sub
`
