package feedbackcmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config"
	"mailwhy/relay/app"
	"mailwhy/relay/app/apptest"
	"mailwhy/relay/smtptest"
)

// The errors that the program would turn into exit statuses.
var (
	errUsage    = errors.New("usage")
	errTempFail = errors.New("try again")
	errSendBack = errors.New("send back")
)

const secret = "hook:0123456789abcdef"

// scene is a relay with a webhook of Postmark's, and an upstream that takes everything.
type scene struct {
	t        *testing.T
	cfg      *config.Config
	app      *app.Relay
	upstream *smtptest.Server
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, upstream: smtptest.New(t, smtptest.Options{})}
	_, s.cfg = apptest.Configure(t, fmt.Sprintf("[dsn]\ncollect = \"0s\"\n"+
		"[feedback]\nlisten = \"127.0.0.1:0\"\npipe = true\n"+
		"[[feedback.webhook]]\nprovider = \"postmark\"\ncredential = %q\n[upstream.default]\nurl = %q\n",
		secret, s.upstream.URL()))
	s.app, _ = apptest.Run(t, s.cfg, io.Discard, nil)
	return s
}

// run runs the command and returns what it prints.
func (s *scene) run(stdin string, args ...string) (string, error) {
	s.t.Helper()
	return run(s.t, s.cfg, stdin, args...)
}

func run(t *testing.T, cfg *config.Config, stdin string, args ...string) (string, error) {
	t.Helper()
	c := New(Options{
		Options: relaycmd.Options{
			Usage: func(err error) error { return fmt.Errorf("%w: %w", errUsage, err) },
			Flags: func(*cobra.Command) {},
			Load:  func() (*config.Config, error) { return cfg, nil },
		},
		TempFail: func(err error) error { return fmt.Errorf("%w: %w", errTempFail, err) },
		SendBack: func(err error) error { return fmt.Errorf("%w: %w", errSendBack, err) },
	})
	var out bytes.Buffer
	c.SetArgs(args)
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// want runs the command and wants it to print something that fits.
func (s *scene) want(pattern, stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.run(stdin, args...)
	if err != nil || !regexp.MustCompile(pattern).MatchString(out) {
		s.t.Errorf("%v: %v\n%s\ndoes not fit %s", args, err, out, pattern)
	}
	return out
}

// TestHostileText: what strangers write cannot control the terminal, nor turn the order of what it shows.
func TestHostileText(t *testing.T) {
	s := newScene(t)
	s.post(`{"RecordType":"Bounce","ID":1,"Type":"HardBounce","Email":"a\u202ex@x.test",` +
		`"Subject":"\u009b2J","Details":"550 5.1.1 \u001b[2J\u2028\u200f\u007f\u009b31m",` +
		`"BouncedAt":"2026-11-29T12:00:00Z"}`)
	smtptest.WaitFor(t, "the event", func() bool {
		out, err := s.run("", "list")
		return err == nil && strings.Contains(out, "bounced a")
	})
	list := s.want(`bounced a`, "", "list")
	id := strings.Fields(list)[0]
	for _, out := range []string{list, s.want(`As it was read:`, "", "show", id)} {
		if i := strings.IndexAny(out, "\u001b\u007f\u009b\u200f\u2028\u202e\r"); i >= 0 {
			t.Errorf("it prints %q", out[max(0, i-20):])
		}
	}
}

// bounce is an event of Postmark's.
func bounce(id, message, to string) string {
	return fmt.Sprintf(`{"RecordType":"Bounce","ID":%s,"Type":"HardBounce","Email":%q,"Metadata":{"mw":%q},`+
		`"Details":"smtp;550 5.1.1 unknown","BouncedAt":"2026-11-29T12:00:00Z"}`, id, to, message)
}

// post sends an event to the webhook.
func (s *scene) post(body string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.app.FeedbackAddr().String()+"/postmark",
		strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	user, password, _ := strings.Cut(secret, ":")
	req.SetBasicAuth(user, password)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("answered %s", resp.Status)
	}
}

// TestUnmatched: a report that fits nothing is listed, shown as it came, and looked at again when asked; so
// is one from a file.
func TestUnmatched(t *testing.T) {
	s := newScene(t)
	s.want(`^no report is selected`, "", "list")
	s.post(bounce("1", "06H2EAGJCJ8FV0SDZ7AE3YH7", "ann@x.test"))
	smtptest.WaitFor(t, "the report to be looked at", func() bool {
		out, err := s.run("", "list")
		return err == nil && strings.Contains(out, "no message is remembered")
	})
	listed := s.want(`^\d+ +\S+ \S+Z  waiting +postmark  bounced ann@x.test  550 5.1.1 unknown  \(no `+
		`message is remembered that it could be about\)  next try `, "",
		"list", "--state", "waiting", "--since", "1h")
	id := strings.Fields(listed)[0]
	s.want(`(?s)As it was read:.*"Recipient": "ann@x.test".*As it came:\n\{"RecordType":"Bounce","ID":1,`, "",
		"show", id)
	s.want(`^\{"id":`+id+`,.*"reply":"550 5.1.1 unknown"`, "", "show", id, "--json")
	s.want(`^to be looked at now: 1 report\n$`, "", "replay", id)
	s.want(`^to be looked at now: 1 report\n$`, "", "replay", "--source", "postmark")
	s.want(`^to be looked at now: 0 reports\n$`, "", "replay", "--state", "unreadable")
	for _, args := range [][]string{{"show", "999"}, {"replay", "999"}} {
		if _, err := s.run("", args...); err == nil || !strings.Contains(err.Error(), "no such report") {
			t.Errorf("%v: %v", args, err)
		}
	}
	file := filepath.Join(t.TempDir(), "dead-letter.json")
	if err := os.WriteFile(file, []byte("not JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(`^taken: 1 report\n$`, "", "replay", file, "--webhook", "postmark")
	smtptest.WaitFor(t, "the file to be read", func() bool {
		out, err := s.run("", "list", "--state", "unreadable")
		return err == nil && strings.Contains(out, "not read yet")
	})
	if _, err := s.run("", "replay", file, "--webhook", "ses"); err == nil ||
		!strings.Contains(err.Error(), `there is no webhook "ses"; there are: postmark`) {
		t.Errorf("another webhook: %v", err)
	}
}

// TestTest: the message of a test goes the whole way, and what comes back is told.
func TestTest(t *testing.T) {
	s := newScene(t)
	var answering sync.WaitGroup
	answering.Go(func() {
		tag := regexp.MustCompile(`(?m)^X-PM-Metadata-mw: (\S+)`)
		var id string
		smtptest.WaitFor(t, "the test message", func() bool {
			for _, m := range s.upstream.Messages() {
				if found := tag.FindSubmatch(m.Content); found != nil {
					id = string(found[1])
				}
			}
			return id != ""
		})
		s.post(bounce("2", id, "nobody@x.test"))
	})
	s.want(`(?s)^queued as \S{24}\nrelayed; waiting for the event\n.*bounced, reported by postmark `+
		`\(webhook, HardBounce\), matched by queue_id, trust proven\n    550 5.1.1 unknown\n    Invalid `+
		`Address: user_unknown.*1\. Check the address`, "",
		"test", "postmark", "--from", "app@shop.test", "--to", "nobody@x.test", "--wait", "30s")
	answering.Wait()
	_, err := s.run("", "test", "postmark", "--from", "app@shop.test", "--to", "joe@x.test", "--wait", "4s")
	if err == nil || !strings.Contains(err.Error(), "no event came within 4s") {
		t.Errorf("without an event: %v", err)
	}
	_, err = s.run("", "test", "ses", "--from", "app@shop.test", "--to", "joe@x.test")
	if err == nil || !strings.Contains(err.Error(), `there is no webhook "ses"`) {
		t.Errorf("without the webhook: %v", err)
	}
}

// TestPipe: a bounce is taken, a person's mail is not, and a relay that cannot be asked has the mail server
// try again.
func TestPipe(t *testing.T) {
	s := newScene(t)
	report := "From: MAILER-DAEMON@mx.test\r\nReturn-Path: <>\r\nSubject: failure notice\r\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n" +
		"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n" +
		"Final-Recipient: rfc822; ann@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
		"Diagnostic-Code: smtp; 550 5.1.1 unknown\r\n\r\n--b--\r\n"
	s.want(`^$`, report)
	smtptest.WaitFor(t, "the bounce in the list", func() bool {
		out, err := s.run("", "list", "--source", "pipe")
		return err == nil && strings.Contains(out, "bounced ann@x.test")
	})
	person := "From: ann@x.test\r\nSubject: hello\r\n\r\nHello!\r\n"
	if _, err := s.run(person); !errors.Is(err, errSendBack) {
		t.Errorf("a person's mail: %v", err)
	}
	away := *s.cfg
	away.Admin.Socket = filepath.Join(t.TempDir(), "admin.sock")
	if _, err := run(t, &away, report); !errors.Is(err, errTempFail) {
		t.Errorf("no relay: %v", err)
	}
}
