package smtptest_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

func TestStartTLS(t *testing.T) {
	id := smtptest.NewCertificate(t, "localhost", "127.0.0.1")
	s := smtptest.New(t, smtptest.Options{TLS: id.Server(), RequireTLS: true})
	c := greet(t, s.Addr())
	c.do("MAIL FROM:<>", "530 5.7.0")
	c.write("STARTTLS\r\nNOOP\r\n") // the NOOP must not survive the handshake
	c.want("220")
	cfg := id.Client()
	cfg.ServerName = "localhost"
	secure := tls.Client(c.conn, cfg)
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.conn, c.r = secure, bufio.NewReader(secure)
	c.do("MAIL FROM:<>", "503 5.5.1") // RFC 3207, 4.2: the EHLO is forgotten
	if caps := c.do("EHLO x", "250"); strings.Contains(caps, "STARTTLS") {
		t.Errorf("STARTTLS is offered twice: %q", caps)
	}
	c.do("MAIL FROM:<>", "250")
}

func TestImplicitTLS(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	s := smtptest.New(t, smtptest.Options{TLS: id.Server(), ImplicitTLS: true})
	conn, err := tls.Dial("tcp", s.Addr(), id.Client())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.want("220")
	c.do("EHLO x", "250")
	c.put("x")
	if m := s.Messages()[0]; m.TLS != "TLS 1.3" {
		t.Errorf("TLS %q", m.TLS)
	}
}

func TestCertificateIsForItsNamesAndItsTime(t *testing.T) {
	now := time.Now()
	expired, err := smtptest.CertificateAt(now.Add(-2*time.Hour), now.Add(-time.Hour), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	valid := smtptest.NewCertificate(t, "localhost")
	for _, tt := range []struct {
		name   string
		id     *smtptest.Identity
		server string
		want   string
	}{
		{"valid", valid, "localhost", ""},
		{"another name", valid, "other.test", "not other.test"},
		{"expired", expired, "localhost", "expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{TLS: tt.id.Server(), ImplicitTLS: true})
			cfg := tt.id.Client()
			cfg.ServerName = tt.server
			conn, err := tls.Dial("tcp", s.Addr(), cfg)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuth(t *testing.T) {
	opt := smtptest.Options{
		Users: map[string]string{"u": "p"}, RequireAuth: true,
		Mechanisms: []string{"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"},
	}
	tests := []struct {
		name  string
		talk  func(c *client) string // returns the last reply
		wants string
	}{
		{"plain", func(c *client) string { return c.do("AUTH PLAIN "+b64("\x00u\x00p"), "") }, "235"},
		{"plain in two steps", func(c *client) string {
			c.do("AUTH PLAIN", "334 \r\n")
			return c.do(b64("\x00u\x00p"), "")
		}, "235"},
		{
			"plain, wrong",
			func(c *client) string { return c.do("AUTH PLAIN "+b64("\x00u\x00q"), "") },
			"535 5.7.8",
		},
		{"plain, no base64", func(c *client) string { return c.do("AUTH PLAIN ***", "") }, "535"},
		{"login", func(c *client) string {
			c.do("AUTH LOGIN", "334 "+b64("Username:"))
			c.do(b64("u"), "334 "+b64("Password:"))
			return c.do(b64("p"), "")
		}, "235"},
		{"login, cancelled", func(c *client) string {
			c.do("AUTH LOGIN", "334")
			return c.do("*", "")
		}, "535"},
		{"cram", func(c *client) string { return cram(c, "p") }, "235"},
		{"cram, wrong", func(c *client) string { return cram(c, "q") }, "535"},
		{
			"xoauth2",
			func(c *client) string {
				return c.do("AUTH XOAUTH2 "+b64("user=u\x01auth=Bearer p\x01\x01"), "")
			},
			"235",
		},
		{"xoauth2, wrong", func(c *client) string {
			c.do("AUTH XOAUTH2 "+b64("user=u\x01auth=Bearer q\x01\x01"), "334")
			return c.do("", "")
		}, "535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, opt)
			c := greet(t, s.Addr())
			if got := tt.talk(c); !strings.HasPrefix(got, tt.wants) {
				t.Fatalf("got %q, want %q", got, tt.wants)
			}
			if tt.wants != "235" {
				c.do("MAIL FROM:<>", "530")
				return
			}
			c.put("x")
			if u := s.Messages()[0].User; u != "u" {
				t.Errorf("user %q", u)
			}
		})
	}
}

// cram answers a CRAM-MD5 challenge.
func cram(c *client, password string) string {
	challenge := strings.TrimSpace(strings.TrimPrefix(c.do("AUTH CRAM-MD5", "334 "), "334 "))
	text, _ := base64.StdEncoding.DecodeString(challenge)
	mac := hmac.New(md5.New, []byte(password))
	mac.Write(text)
	return c.do(b64("u "+hex.EncodeToString(mac.Sum(nil))), "")
}

func TestScriptedAuth(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{
		Users:  map[string]string{"u": "p"},
		Script: at(diagnose.StageAuth, smtptest.Action{Reply: "454 4.7.0 Temporary authentication failure"}),
	})
	greet(t, s.Addr()).do("AUTH PLAIN "+b64("\x00u\x00p"), "454 4.7.0")
}

// TestLogin: the hook judges in place of Users, for every mechanism, and its words end AUTH.
func TestLogin(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{
		Mechanisms: []string{"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"},
		Login: func(mechanism, user string, matches func(string) bool) string {
			if user == "u" && matches("p") {
				return "235 Welcome by " + mechanism
			}
			return "535 Not today"
		},
	})
	bearer := func(secret string) string {
		return b64("n,a=u,\x01host=h\x01port=25\x01auth=Bearer " + secret + "\x01\x01")
	}
	greet(t, s.Addr()).do("AUTH PLAIN "+b64("\x00u\x00p"), "235 Welcome by PLAIN")
	greet(t, s.Addr()).do("AUTH PLAIN "+b64("\x00u\x00q"), "535 Not today")
	greet(t, s.Addr()).do("AUTH PLAIN "+b64("u"), "535 Not today")
	greet(t, s.Addr()).do("AUTH OAUTHBEARER "+bearer("p"), "235 Welcome by OAUTHBEARER")
	c := greet(t, s.Addr())
	c.do("AUTH OAUTHBEARER "+bearer("q"), "334")
	c.do("AQ==", "535 Not today")
	if got := s.Sessions()[0].User; got != "u" {
		t.Errorf("authenticated as %q", got)
	}
}
