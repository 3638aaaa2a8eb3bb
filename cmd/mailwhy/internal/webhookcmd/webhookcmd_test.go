package webhookcmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config"
	"mailwhy/relay/app"
	"mailwhy/relay/app/apptest"
	"mailwhy/relay/smtptest"
)

var errUsage = errors.New("usage")

// scene is a relay with a webhook that answers with a status.
type scene struct {
	t        *testing.T
	cfg      *config.Config
	app      *app.Relay
	status   atomic.Int32
	requests atomic.Int32
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t}
	s.status.Store(http.StatusNoContent)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		s.requests.Add(1)
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(receiver.Close)
	upstream := smtptest.New(t, smtptest.Options{})
	_, s.cfg = apptest.Configure(t, fmt.Sprintf("[upstream.default]\nurl = %q\n"+
		"[[webhook]]\nname = \"shop\"\nurl = \"%s/hook?key=hidden\"\n"+
		"secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nevents = [\"all\"]\n", upstream.URL(),
		receiver.URL))
	s.app, _ = apptest.Run(t, s.cfg, io.Discard, nil)
	return s
}

// run runs the command and returns what it prints.
func (s *scene) run(args ...string) (string, error) {
	s.t.Helper()
	c := New(relaycmd.Options{
		Usage: func(err error) error { return fmt.Errorf("%w: %w", errUsage, err) },
		Flags: func(*cobra.Command) {},
		Load:  func() (*config.Config, error) { return s.cfg, nil },
	})
	var out bytes.Buffer
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.ExecuteContext(s.t.Context())
	return out.String(), err
}

// wait runs the command until what it prints fits.
func (s *scene) wait(pattern string, args ...string) {
	s.t.Helper()
	var out string
	smtptest.WaitFor(s.t, pattern, func() bool {
		var err error
		out, err = s.run(args...)
		return err == nil && regexp.MustCompile(pattern).MatchString(out)
	})
	if strings.Contains(out, "hidden") {
		s.t.Errorf("it prints a secret of the URL:\n%s", out)
	}
}

// submit sends a mail.
func (s *scene) submit() {
	s.t.Helper()
	l := smtptest.Load{Addr: s.app.Addrs()[0].String(), Sessions: 1, Messages: 1, Size: 1000}
	if _, err := l.Run(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// TestOperate: the webhook is listed as it stands, is tested, is disabled by a 410, is enabled, and gets what
// it had before again.
func TestOperate(t *testing.T) {
	s := newScene(t)
	s.wait(`(?s)^shop  http://127.0.0.1:\d+/hook\n  ok\n  events: 0 waiting, 0 sent and 0 lost`, "list")
	s.wait(`^shop took the event evt_\S+: HTTP status 204 after `, "test", "shop")
	s.submit()
	s.wait(`  events: 0 waiting, 2 sent and 0 lost since the start`, "list")
	s.wait(`^to be sent again: 2 events\n$`, "replay", "shop", "--since", "10m")
	s.wait(`  events: 0 waiting, 4 sent`, "list")
	s.status.Store(http.StatusGone)
	if _, err := s.run("test", "shop"); err == nil || !strings.Contains(err.Error(), "answered 410 Gone") {
		t.Errorf("a test in vain: %v", err)
	}
	s.submit()
	s.wait(`(?s)disabled since \S+ \S+Z: answered 410 Gone\n  events: [23] waiting \(the oldest of`, "list")
	s.wait(`"state":"disabled".*"backlog":[23],`, "list", "--json")
	s.status.Store(http.StatusNoContent)
	s.wait(`^shop is enabled\n$`, "enable", "shop")
	s.wait(`(?s)  ok\n  events: 0 waiting, [78] sent and 0 lost`, "list")
}

// TestMistakes: what is typed wrong is said.
func TestMistakes(t *testing.T) {
	s := newScene(t)
	s.wait(`shop`, "list")
	for _, args := range [][]string{{"test", "crm"}, {"enable", "crm"}, {"replay", "crm", "--since", "1h"}} {
		_, err := s.run(args...)
		if err == nil ||
			!strings.Contains(err.Error(), "there is no webhook \"crm\"; `mailwhy webhook list`") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := s.run("replay", "shop", "--since", "yesterday"); !errors.Is(err, errUsage) {
		t.Errorf("a wrong time: %v", err)
	}
	if _, err := s.run("replay", "shop"); err == nil {
		t.Error("no time is no mistake")
	}
}
