package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postfix"
)

// TestRealDovecot runs against Dovecot's submission server, which has mechanisms that Debian's Postfix and
// Exim lack: EXTERNAL by the name in a client certificate, and XOAUTH2 and OAUTHBEARER with tokens that it
// verifies.
func TestRealDovecot(t *testing.T) {
	s := startDovecot(t)
	ca := caFile(t, s.id)
	with := func(auth Authenticator, cert string) *Pool {
		return newPool(t, s.clear, func(o *Options) {
			o.TLS, o.Auth = TLS{Mode: TLSRequired, CAFile: ca, CertFile: cert}, auth
		})
	}
	password := func(mech, password string) *Credentials {
		c := secret(password)
		c.Mechanisms = []string{mech}
		return c
	}
	for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"} {
		t.Run(mech, func(t *testing.T) {
			s.arrives(t, with(password(mech, "secret"), ""), message(content, "a@b.test"))
			f := with(password(mech, "wrong"), "").Probe(t.Context())
			if f == nil || f.Stage != diagnose.StageAuth || f.Reply.Code != 535 {
				t.Errorf("with a wrong password: %+v", f)
			}
		})
	}
	t.Run("EXTERNAL", func(t *testing.T) {
		external := &Credentials{Mechanisms: []string{"EXTERNAL"}}
		own := writeFile(t, "client.pem", append(s.id.CertPEM, s.id.KeyPEM...))
		s.arrives(t, with(external, own), message(content, "a@b.test"))
		stranger := smtptest.NewCertificate(t, "127.0.0.1")
		other := writeFile(t, "other.pem", append(stranger.CertPEM, stranger.KeyPEM...))
		if f := with(external, other).Probe(t.Context()); f == nil {
			t.Error("a certificate of another authority is taken")
		}
		nobody := smtptest.NewCertificate(t, "nobody.test")
		if f := with(external, writeFile(t, "n.pem", append(nobody.CertPEM, nobody.KeyPEM...))).
			Probe(t.Context()); f == nil {
			t.Error("an unknown name is taken")
		}
	})
	for _, mech := range []string{"XOAUTH2", "OAUTHBEARER"} {
		t.Run(mech, func(t *testing.T) {
			bearer := func(token string) *Bearer {
				return &Bearer{Username: "user", Tokens: fixedToken(token), Mechanisms: []string{mech},
					Host: "real.test", Port: 587}
			}
			s.arrives(t, with(bearer(dovecotToken(t, time.Hour, "")), ""), message(content, "a@b.test"))
			// longer than an AUTH line may be
			long := dovecotToken(t, time.Hour, strings.Repeat("x", 1500))
			s.arrives(t, with(bearer(long), ""), message(content, "a@b.test"))
			f := with(bearer(dovecotToken(t, -time.Hour, "")), "").Probe(t.Context())
			if f == nil || f.Reply.Code != 535 || !strings.Contains(f.NetErr.Text, "the server explained") {
				t.Errorf("with an expired token: %+v", f)
			}
		})
	}
}

const dovecotKey = "0123456789abcdef0123456789abcdef"

// dovecotToken is a JWT that Dovecot verifies with dovecotKey. padding makes it longer.
func dovecotToken(t *testing.T, life time.Duration, padding string) string {
	t.Helper()
	now := time.Now()
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Appendf(nil, `{"sub":"user","iat":%d,"exp":%d,"x":%q}`, now.Add(-2*time.Hour).Unix(),
		now.Add(life).Unix(), padding)
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(dovecotKey))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// startDovecot runs Dovecot without installing it. It looks for its programs and modules under /usr, so it
// sees the unpacked files there, in a mount namespace of its own.
func startDovecot(t *testing.T) *real {
	root := realRoot(t, "dovecot")
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("skipping: unshare is not installed")
	}
	s, dir := newReal(t)
	r := strings.NewReplacer("DIR", dir, "CLEARPORT", portOf(s.clear), "IMPLICITPORT", portOf(s.implicit),
		"BEHIND", portOf(s.behind.Addr()))
	put(t, dir, "dovecot.conf", r.Replace(dovecotConf))
	put(t, dir, "oauth2.conf", r.Replace(dovecotOAuth))
	put(t, dir, "users", "user:{PLAIN}secret\n")
	put(t, dir, "names", "127.0.0.1:::::::nopassword=y\n")
	put(t, dir, "keys/default/HS256/default", base64.StdEncoding.EncodeToString([]byte(dovecotKey)))
	if err := os.Mkdir(dir+"/home", 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir+"/home", 0o777)
	cmd := exec.Command("unshare", "-m", "sh", "-c",
		`mount -t overlay overlay -o "lowerdir=$1/usr:/usr" /usr && exec /usr/sbin/dovecot -F -c "$2"`,
		"sh", root, filepath.Join(dir, "dovecot.conf"))
	cmd.Env = postfix.Libraries(root)
	launch(t, dir+"/log", s.clear, cmd)
	return s
}

const dovecotConf = `base_dir = DIR/run
state_dir = DIR/state
default_internal_user = mail
default_internal_group = mail
default_login_user = nobody
log_path = /dev/stderr
auth_verbose = yes
import_environment = LD_LIBRARY_PATH
protocols = submission
listen = 127.0.0.1
hostname = real.test
first_valid_uid = 1
mail_location = maildir:DIR/home/mail
ssl = required
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
ssl_ca = <DIR/ca.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
ssl_cert_username_field = commonName
auth_ssl_username_from_cert = yes
auth_mechanisms = plain login cram-md5 scram-sha-256 external xoauth2 oauthbearer
auth_failure_delay = 0
passdb {
  driver = passwd-file
  mechanisms = plain login cram-md5 scram-sha-256
  args = DIR/users
}
passdb {
  driver = passwd-file
  mechanisms = external
  args = DIR/names
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
service submission-login {
  chroot =
  inet_listener submission {
    port = CLEARPORT
  }
  inet_listener submissions {
    port = IMPLICITPORT
    ssl = yes
  }
}
submission_relay_host = 127.0.0.1
submission_relay_port = BEHIND
`

const dovecotOAuth = `introspection_mode = local
local_validation_key_dict = fs:posix:prefix=DIR/keys/
username_attribute = sub
`
