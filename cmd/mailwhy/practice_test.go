package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// runPractice starts the command and returns its address, what it prints, and how to end it.
func runPractice(t *testing.T, args ...string) (addr string, lines *bufio.Scanner, end func() error) {
	t.Helper()
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	c := newPracticeCommand()
	c.SetArgs(append([]string{"--listen", "127.0.0.1:0"}, args...))
	c.SetOut(w)
	done := make(chan error, 1)
	go func() {
		err := c.ExecuteContext(ctx)
		w.Close()
		done <- err
	}()
	late := time.AfterFunc(20*time.Second, func() { r.CloseWithError(context.DeadlineExceeded) })
	t.Cleanup(func() { late.Stop() })
	lines = bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatalf("nothing printed: %v", <-done)
	}
	m := regexp.MustCompile(`on (127\.0\.0\.1:\d+)` +
		`(?:, for mailwhy serve --upstream 'smtp://|(?: as \w+)?, for ` +
		`(?:MAILWHY_UPSTREAM_PRESET=\w+ )?(?:MAILWHY_UPSTREAM_FINGERPRINT=[0-9a-f]{64} )?` +
		`(?:MAILWHY_UPSTREAM_ALLOW_PLAINTEXT_AUTH=true )?` +
		`MAILWHY_UPSTREAM='smtps?://\w+:\w+@)`).
		FindStringSubmatch(lines.Text())
	if m == nil {
		t.Fatalf("printed %q", lines.Text())
	}
	if !slices.Contains(args, "--as") && !lines.Scan() { // what is said of TLS and AUTH
		t.Fatalf("only one line was printed: %v", <-done)
	}
	end = func() error {
		cancel()
		io.Copy(io.Discard, r)
		return <-done
	}
	t.Cleanup(cancel)
	return m[1], lines, end
}

func TestPracticeCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	addr, lines, end := runPractice(t, "--dump", dir)
	sent := make(chan error, 2)
	go func() {
		sent <- smtp.SendMail(addr, nil, "app@sender.test", []string{"good@any.test", "\"a b\"@any.test"},
			[]byte("Subject: hello\r\n\r\nx\r\n"))
		sent <- smtp.SendMail(addr, nil, "app@sender.test", []string{"unknown@any.test"}, []byte("x\r\n"))
	}()
	wants := []string{
		` accepted <app@sender.test> -> <good@any.test> <"a b"@any.test>  21 bytes  ` + dir + `/\S+\.eml$`,
		` refused  <app@sender.test> -> <unknown@any.test>  550-5.1.1 The email account .* \.\.\.$`,
	}
	for _, want := range wants {
		if !lines.Scan() || !regexp.MustCompile(want).MatchString(lines.Text()) {
			t.Errorf("printed %q, want %s", lines.Text(), want)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := <-sent; err == nil || !strings.Contains(err.Error(), "5.1.1 The email account") {
		t.Errorf("refused with %v", err)
	}
	if err := end(); err != nil {
		t.Errorf("ended with %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if b, _ := os.ReadFile(files[0]); string(b) != "Subject: hello\r\n\r\nx\r\n" {
		t.Errorf("kept %q", b)
	}
}

// TestPracticeAsProvider: TLS, AUTH and the provider's words, to which the recipient's wishes come first.
func TestPracticeAsProvider(t *testing.T) {
	addr, lines, end := runPractice(t, "--as", "ses", "--credentials", "u:p")
	send := func(password, from, to string) error {
		c, err := smtp.Dial(addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "127.0.0.1"}); err != nil {
			return err
		}
		if err := c.Auth(smtp.PlainAuth("", "u", password, "127.0.0.1")); err != nil {
			return err
		}
		return errors.Join(c.Mail(from), c.Rcpt(to))
	}
	for _, tt := range []struct{ password, from, to, want, log string }{
		{"p", "a@a.test", "b@b.test", "", ""},
		{
			"q", "a@a.test", "b@b.test", `535 "Authentication Credentials Invalid"`,
			` refused  AUTH PLAIN of u  535 Authentication Credentials Invalid$`,
		},
		{
			"p", "", "b@b.test", `501 "Invalid MAIL FROM address provided"`,
			` refused  <>  501 Invalid MAIL FROM address provided$`,
		},
		{
			"p", "a@a.test", "452-4.2.2@b.test", `452 "4.2.2 Practice reply"`,
			` refused  <a@a.test> -> <452-4.2.2@b.test>  452 4.2.2 Practice reply$`,
		},
	} {
		sent := make(chan error, 1)
		go func() { sent <- send(tt.password, tt.from, tt.to) }()
		if tt.log != "" && (!lines.Scan() || !regexp.MustCompile(tt.log).MatchString(lines.Text())) {
			t.Errorf("printed %q, want %s", lines.Text(), tt.log)
		}
		err := <-sent
		if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%q to %q: %v, want %q", tt.from, tt.to, err, tt.want)
		}
	}
	if err := end(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestPracticeEvents: the event names the message by the id that was in the provider's 250.
func TestPracticeEvents(t *testing.T) {
	bodies := make(chan []byte, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- b
	}))
	defer hook.Close()
	cert := filepath.Join(t.TempDir(), "practice.pem")
	addr, lines, end := runPractice(t, "--as", "ses", "--events", hook.URL+"/ses", "--after", "10ms",
		"--events-certificate", cert)
	go func() { // what is printed must be read, or the command waits
		for lines.Scan() {
			continue
		}
	}()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "127.0.0.1"}),
		c.Auth(smtp.PlainAuth("", "u", "p", "127.0.0.1")), c.Mail("a@a.test"),
		c.Rcpt("late-550-5.1.1@any.test"), c.Text.PrintfLine("DATA")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		t.Fatal(err)
	}
	c.Text.PrintfLine("Message-ID: <1@a.test>\r\n\r\nx\r\n.")
	_, reply, err := c.Text.ReadResponse(250)
	if err != nil {
		t.Fatal(err)
	}
	id, ok := strings.CutPrefix(reply, "Ok ")
	if body := string(<-bodies); !ok || !strings.Contains(body, `\"messageId\":\"`+id) ||
		!strings.Contains(body, "550 5.1.1 Practice reply") {
		t.Errorf("250 %s, and then:\n%s", reply, body)
	}
	if err := end(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if b, err := os.ReadFile(cert); err != nil || !strings.HasPrefix(string(b), "-----BEGIN CERTIFICATE") {
		t.Errorf("certificate: %.30q, %v", b, err)
	}
}

// TestPracticeTLSAndAuth: a client that trusts the authority of --ca-file speaks TLS as --tls says, and only
// the credentials are taken, by each mechanism that is offered.
func TestPracticeTLSAndAuth(t *testing.T) {
	for _, mode := range []string{"starttls", "required", "implicit", "none"} {
		t.Run(mode, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.pem")
			args := []string{"--tls", mode, "--credentials", "app:secret"}
			if mode != "none" {
				args = append(args, "--ca-file", file)
			}
			addr, lines, end := runPractice(t, args...)
			if want := "the login of app is needed"; !strings.HasSuffix(lines.Text(), want) {
				t.Errorf("printed %q, want %q", lines.Text(), want)
			}
			go func() { // what is printed must be read, or practice waits
				for lines.Scan() {
					continue
				}
			}()
			upstream := secured(mode, file)
			login := []smtp.Auth{smtp.PlainAuth("", "app", "secret", "localhost"),
				smtp.CRAMMD5Auth("app", "secret"), xoauth2("app", "secret")}
			for _, a := range login {
				if err := upstream.login(addr, a); err != nil {
					t.Errorf("%T: %v", a, err)
				}
			}
			for _, a := range []smtp.Auth{smtp.PlainAuth("", "app", "wrong", "localhost"), nil} {
				if err := upstream.login(addr, a); err == nil {
					t.Errorf("%v was enough", a)
				}
			}
			if mode == "required" {
				if err := secured("none", "").login(addr, login[1]); err == nil {
					t.Error("AUTH was taken in clear")
				}
			}
			if err := end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// secured says how TLS begins and which file has the authority.
func secured(mode, file string) tlsClient { return tlsClient{mode, file} }

type tlsClient struct{ mode, file string }

// login connects, logs in if there is a login, and names a sender.
func (u tlsClient) login(addr string, a smtp.Auth) error {
	config := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()}
	if u.mode != "none" {
		pem, err := os.ReadFile(u.file)
		if err != nil || !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("the authority cannot be read: %v", err)
		}
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if u.mode == "implicit" {
		conn = tls.Client(conn, config)
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if u.mode == "starttls" || u.mode == "required" {
		if err := c.StartTLS(config); err != nil {
			return err
		}
	}
	if a != nil {
		if err := c.Auth(a); err != nil {
			return err
		}
	}
	return c.Mail("app@sender.test")
}

// xoauth2 logs in with a token.
func xoauth2(user, token string) smtp.Auth {
	return bearer("user=" + user + "\x01auth=Bearer " + token + "\x01\x01")
}

type bearer string

func (b bearer) Start(*smtp.ServerInfo) (string, []byte, error) { return "XOAUTH2", []byte(b), nil }

func (b bearer) Next([]byte, bool) ([]byte, error) { return nil, nil }

func TestPracticeDefersWhatItCannotKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	addr, lines, end := runPractice(t, "--dump", dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		sent <- smtp.SendMail(addr, nil, "app@sender.test", []string{"good@any.test"}, []byte("x\r\n"))
	}()
	if !lines.Scan() || !strings.Contains(lines.Text(), " failed ") {
		t.Errorf("printed %q", lines.Text())
	}
	if err := <-sent; err == nil || !strings.Contains(err.Error(), "4.3.0 the message cannot be stored") {
		t.Errorf("answered %v", err)
	}
	end()
}

func TestPracticeCommandMistakes(t *testing.T) {
	addr, _, end := runPractice(t)
	defer end()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"--listen=" + addr, "address already in use"},
		{"--listen=127.0.0.1:0 --dump=" + file, "not a directory"},
		{"surplus", "unknown command"},
		{"--listen=127.0.0.1:0 --tls=ssl", `--tls: "ssl" is not none, starttls, required or implicit`},
		{"--listen=127.0.0.1:0 --tls=none --ca-file=x", "--ca-file: there is no certificate"},
		{"--listen=127.0.0.1:0 --tls=starttls --ca-file=" + file, "is there already, and is no"},
		{"--listen=127.0.0.1:0 --as=ses --tls=none", "--tls: with --as it is that of the provider"},
		{"--listen=127.0.0.1:0 --page=0.0.0.0:0", "--page: 0.0.0.0:0 can be reached"},
		{"--listen=127.0.0.1:0 --page=127.0.0.1", "--page: address 127.0.0.1: missing port"},
		{"--listen=127.0.0.1:0 --page=" + addr, "--page: listen tcp " + addr + ": bind: address"},
		{"--listen=127.0.0.1:0 --page=127.0.0.1:0 --page-keep=0", "--page-keep: not above zero: 0"},
		{"--listen=127.0.0.1:0 --as=aws", `--as: no provider is called "aws"; there are ses, m365,`},
		{"--listen=127.0.0.1:0 --as=ses --speed=0", "--speed: not above zero: 0"},
		{"--listen=127.0.0.1:0 --as=ses --credentials=u", "--credentials: write user:password"},
		{"--listen=127.0.0.1:0 --events=http://127.0.0.1:1/ses", "--events: say with --as whose"},
		{"--listen=127.0.0.1:0 --as=gmail --events=http://127.0.0.1:1/", "--events: no events of"},
	} {
		c := newPracticeCommand()
		c.SetArgs(strings.Fields(tt.args))
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := c.ExecuteContext(ctx); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.args, err, tt.want)
		}
		cancel()
	}
}

func TestPracticeHelpNamesEveryCase(t *testing.T) {
	help := newPracticeCommand().Long
	for _, want := range []string{"  unknown ", "(Invalid Address)", "  greylist ", "  drop "} {
		if !strings.Contains(help, want) {
			t.Errorf("%q is not in the help", want)
		}
	}
}
