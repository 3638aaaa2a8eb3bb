package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postfix"
)

// realRoot is where scripts/upstream-test.sh has unpacked the servers' packages.
func realRoot(t *testing.T, program string) string {
	t.Helper()
	root := os.Getenv("MAILWHY_SERVERS")
	if root == "" || os.Getuid() != 0 {
		t.Skipf("skipping: %s is not unpacked, or we are not root: run scripts/upstream-test.sh", program)
	}
	if matches, _ := filepath.Glob(filepath.Join(root, "usr/*bin", program)); len(matches) == 0 {
		t.Skipf("skipping: %s is not unpacked", program)
	}
	return root
}

// real is a server from Debian's packages. It passes everything on to behind, which tells what arrived.
type real struct {
	clear, implicit string // addresses; clear has STARTTLS
	mechanisms      []string
	behind          *smtptest.Server
	id              *smtptest.Identity
}

// TestReal runs against Postfix, with Cyrus SASL, and Exim: what the scripted server cannot prove is that
// others understand us.
func TestReal(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *real{"postfix": startPostfix, "exim": startExim} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			ca := caFile(t, s.id)
			inTLS := func(o *Options) {
				o.TLS = TLS{Mode: TLSRequired,
					CAFile: ca}
				o.Auth = secret("secret")
			}
			for _, mech := range s.mechanisms {
				t.Run(mech, func(t *testing.T) {
					p := newPool(t, s.clear, func(o *Options) {
						inTLS(o)
						o.Auth.(*Credentials).Mechanisms = []string{mech}
					})
					s.arrives(t, p, message(content, "a@b.test"))
				})
			}
			t.Run("implicit TLS", func(t *testing.T) {
				p := newPool(t, s.implicit, func(o *Options) { inTLS(o); o.TLS.Mode = TLSImplicit })
				s.arrives(t, p, message(content, "a@b.test"))
			})
			t.Run("wrong password", func(t *testing.T) {
				p := newPool(t, s.clear, func(o *Options) { inTLS(o); o.Auth = secret("wrong") })
				f := p.Probe(t.Context())
				if f == nil || f.Stage != diagnose.StageAuth || f.Reply.Code != 535 {
					t.Errorf("%+v", f)
				}
			})
			t.Run("wrong certificate", func(t *testing.T) {
				f := newPool(t, s.clear, func(o *Options) { inTLS(o); o.TLS.CAFile = "" }).Probe(t.Context())
				if f == nil || f.Stage != diagnose.StageTLS || f.NetErr.Kind != diagnose.NetTLSAuthority {
					t.Errorf("%+v", f)
				}
			})
			t.Run("wrong name", func(t *testing.T) {
				p := newPool(t, s.clear, func(o *Options) { inTLS(o); o.TLS.ServerName = "other.test" })
				f := p.Probe(t.Context())
				if f == nil || f.NetErr.Kind != diagnose.NetTLSName {
					t.Errorf("%+v", f)
				}
			})
			t.Run("client certificate", func(t *testing.T) {
				cert := writeFile(t, "client.pem", append(s.id.CertPEM, s.id.KeyPEM...))
				p := newPool(t, s.clear,
					func(o *Options) { o.TLS = TLS{Mode: TLSRequired, CAFile: ca, CertFile: cert} })
				// relaying needs the certificate: there are no credentials
				s.arrives(t, p, message(content, "a@b.test"))
				p = newPool(t, s.clear, func(o *Options) { o.TLS = TLS{Mode: TLSRequired, CAFile: ca} })
				if a := attempts(t,
					send(t, p, message(content, "a@b.test"))[0])[0]; a.Stage != diagnose.StageRcpt ||
					a.Reply.Class() == 2 {
					t.Errorf("relayed without: %+v", a)
				}
			})
			t.Run("DSN", func(t *testing.T) { s.dsn(t, newPool(t, s.clear, inTLS)) })
			t.Run("50 MB", func(t *testing.T) {
				m := message("", "a@b.test")
				line := []byte(".2345678901234567890123456789012345678901234567890123456789012345678\r\n")
				m.Message.Size = int64(len(line)) * 750_000
				m.Open = func() (io.ReadCloser, error) {
					return io.NopCloser(&repeated{line, 750_000, 0}),
						nil
				}
				got := s.arrives(t, newPool(t, s.clear, inTLS), m)
				if !strings.HasSuffix(string(got[0].Content), strings.Repeat(string(line), 750_000)) {
					t.Errorf("%d bytes arrived, of %d", got[0].Size, m.Message.Size)
				}
			})
			t.Run("1,000 recipients", func(t *testing.T) {
				var rcpts []string
				for i := range 1000 {
					rcpts = append(rcpts, fmt.Sprintf("r%d@b.test", i))
				}
				seen := map[string]int{}
				for _, m := range s.arrives(t, newPool(t, s.clear, inTLS), message(content, rcpts...)) {
					for _, r := range m.To {
						seen[r.Address]++
					}
				}
				for _, r := range rcpts {
					if seen[r] != 1 {
						t.Errorf("%s got it %d times", r, seen[r])
					}
				}
			})
		})
	}
}

// repeated reads as a line, n times.
type repeated struct {
	line []byte
	n    int
	at   int
}

func (r *repeated) Read(b []byte) (n int, err error) {
	for n < len(b) {
		if r.n == 0 {
			return n, io.EOF
		}
		k := copy(b[n:], r.line[r.at:])
		n, r.at = n+k, r.at+k
		if r.at == len(r.line) {
			r.at, r.n = 0, r.n-1
		}
	}
	return n, nil
}

// arrives relays one message and returns what of it came through.
func (s *real) arrives(t *testing.T, p *Pool, m *relay.Transaction) []smtptest.Message {
	t.Helper()
	before := s.behind.Stats()
	for _, a := range attempts(t, send(t, p, m)[0]) {
		if !a.Accepted() || a.UpstreamID == "" {
			t.Fatalf("%+v", a)
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if s.behind.Stats().Recipients-before.Recipients >= int64(len(m.Recipients)) {
			return s.behind.Messages()[before.Messages:]
		}
		if time.Now().After(end) {
			t.Fatalf("not passed on: %+v", s.behind.Stats())
		}
	}
}

// dsn checks that the parameters of RFC 3461 come out behind the server as we were given them.
func (s *real) dsn(t *testing.T, p *Pool) {
	m := message(content, "a@b.test", "c@b.test")
	m.Message.Envelope.Ret, m.Message.Envelope.EnvID = relay.RetHeaders, "Id+x=1"
	m.Message.Recipients[0].ORCPT = "rfc822;Some+2Bone@B.test"
	m.Message.Recipients[0].Notify = relay.NotifyFailure | relay.NotifyDelay
	m.Message.Recipients[1].Notify = relay.NotifyNever
	var got []string
	for _, a := range s.arrives(t, p, m) {
		got = append(got, a.FromParams)
		for _, r := range a.To {
			got = append(got, r.Params)
		}
	}
	all := strings.Join(got, " ")
	for _, want := range []string{"RET=HDRS", "ENVID=Id+2Bx+3D1", "ORCPT=rfc822;Some+2Bone@B.test",
		"NOTIFY=FAILURE,DELAY", "NOTIFY=NEVER"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s did not arrive: %q", want, got)
		}
	}
}

// newReal prepares what both servers need, in a directory that their accounts can read.
func newReal(t *testing.T) (s *real, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mailwhy-real")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	s = &real{clear: freeAddr(t), implicit: freeAddr(t), behind: smtptest.New(t, smtptest.Options{}),
		id: smtptest.NewCertificate(t, "127.0.0.1"), mechanisms: []string{"PLAIN", "LOGIN", "CRAM-MD5"}}
	put(t, dir, "cert.pem", string(s.id.CertPEM))
	put(t, dir, "key.pem", string(s.id.KeyPEM))
	put(t, dir, "ca.pem", string(s.id.CAPEM))
	return s, dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// launch runs a server until the test ends, and waits until it answers at addr.
func launch(t *testing.T, log, addr string, cmd *exec.Cmd) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		out.Close()
		if b, _ := os.ReadFile(log); t.Failed() {
			t.Logf("%s:\n%s", log, b[max(0, len(b)-40000):])
		}
	})
	for range 200 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no answer at %s", addr)
}

// startPostfix runs Postfix without installing it, under two accounts that every system has.
func startPostfix(t *testing.T) *real {
	root := realRoot(t, "postfix")
	s, dir := newReal(t)
	leaf, _ := tls.X509KeyPair(s.id.CertPEM, s.id.KeyPEM)
	r := strings.NewReplacer("DIR", dir, "IMPLICIT", s.implicit,
		"FINGERPRINT", fingerprint(leaf.Certificate[0]))
	put(t, dir, "etc/certs", r.Replace("FINGERPRINT ok\n"))
	put(t, dir, "etc/sasl/smtpd.conf",
		r.Replace("pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"+
			"mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\nsasldb_path: DIR/sasldb2\n"))
	add := exec.Command(filepath.Join(root, "usr/sbin/saslpasswd2"), "-p", "-c", "-f", dir+"/sasldb2", "-u",
		"real.test", "user")
	add.Stdin, add.Env = strings.NewReader("secret"), postfix.Libraries(root)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	os.Chmod(dir+"/sasldb2", 0o644)
	s.mechanisms = append(s.mechanisms, "SCRAM-SHA-256")
	p, err := postfix.Start(t.Context(), postfix.Options{
		Root: root, Dir: dir, Addr: s.clear, Upstream: s.behind.Port(), Main: r.Replace(postfixMain),
		Master: r.Replace(postfixMaster),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Log(p.Tail())
		}
	})
	return s
}

func fingerprint(der []byte) string {
	return strings.ToUpper(strings.Join(pairs(fmt.Sprintf("%x", sha256.Sum256(der))), ":"))
}

func pairs(s string) (p []string) {
	for ; s != ""; s = s[2:] {
		p = append(p, s[:2])
	}
	return p
}

// postfixMain is TLS and who may relay.
const postfixMain = `myhostname = real.test
mynetworks =
message_size_limit = 62914560
smtpd_tls_cert_file = DIR/cert.pem
smtpd_tls_key_file = DIR/key.pem
smtpd_tls_ask_ccert = yes
smtpd_tls_fingerprint_digest = sha256
relay_clientcerts = texthash:DIR/etc/certs
smtpd_tls_security_level = may
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = real.test
smtpd_sasl_security_options = noanonymous
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_sasl_authenticated, permit_tls_clientcerts, reject
smtpd_recipient_limit = 60
`

const postfixMaster = `IMPLICIT inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
`

// startExim runs Exim without installing it. Debian's has the name of its account compiled in, so it sees a
// list of accounts of our own, in a mount namespace of its own.
func startExim(t *testing.T) *real {
	root := realRoot(t, "exim4")
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("skipping: unshare is not installed")
	}
	s, dir := newReal(t)
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "passwd", string(accounts)+"Debian-exim:x:8:8::/:/bin/false\n")
	put(t, dir, "group", string(groups)+"Debian-exim:x:8:\n")
	r := strings.NewReplacer("DIR", dir, "CLEARPORT", portOf(s.clear), "IMPLICITPORT", portOf(s.implicit),
		"BEHIND", portOf(s.behind.Addr()))
	put(t, dir, "exim.conf", r.Replace(eximConf))
	for _, d := range []string{"spool", "logs"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
		os.Chown(filepath.Join(dir, d), 8, 8)
	}
	os.Chown(dir+"/key.pem", 8, 8)
	exim := filepath.Join(root, "usr/sbin/exim4")
	cmd := exec.Command("unshare", "-m", "sh", "-c",
		`mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && `+
			`exec "$2" -C "$1/exim.conf" -bdf -q1m`, "sh", dir, exim)
	cmd.Env = postfix.Libraries(root)
	launch(t, dir+"/log", s.clear, cmd)
	return s
}

const eximConf = `exim_path = /proc/self/exe
primary_hostname = real.test
spool_directory = DIR/spool
log_file_path = DIR/logs/%slog
keep_environment = LD_LIBRARY_PATH
add_environment = PATH=/usr/bin:/bin
daemon_smtp_ports = CLEARPORT : IMPLICITPORT
local_interfaces = 127.0.0.1
tls_on_connect_ports = IMPLICITPORT
tls_advertise_hosts = *
tls_certificate = DIR/cert.pem
tls_privatekey = DIR/key.pem
tls_try_verify_hosts = *
tls_verify_certificates = DIR/ca.pem
auth_advertise_hosts = ${if def:tls_in_cipher {*}}
pipelining_advertise_hosts = *
dsn_advertise_hosts = *
message_size_limit = 60M
recipients_max = 60
smtp_accept_max = 50
queue_run_max = 5
smtp_accept_queue_per_connection = 0
deliver_drop_privilege = true
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  accept authenticated = *
  accept verify = certificate
  deny message = relaying denied
begin routers
out:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = BEHIND
  hosts_try_fastopen =
  max_rcpt = 0
begin retry
* * F,1h,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{user}}{eq{$auth3}{secret}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{user}}{eq{$auth2}{secret}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{user}{secret}fail}
  server_set_id = $auth1
`
