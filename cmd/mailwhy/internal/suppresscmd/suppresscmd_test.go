package suppresscmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config"
	"mailwhy/relay/admin"
	"mailwhy/relay/app/apptest"
	"mailwhy/relay/smtptest"
)

var (
	errUsage  = errors.New("usage")
	errFailed = errors.New("failed")
)

// scene is a configuration, and perhaps a relay that runs with it.
type scene struct {
	t   *testing.T
	cfg *config.Config
}

func newScene(t *testing.T, running bool) *scene {
	t.Helper()
	upstream := smtptest.New(t, smtptest.Options{})
	s := &scene{t: t}
	_, s.cfg = apptest.Configure(t, fmt.Sprintf("[suppression]\nmode = \"enforce\"\n"+
		"[upstream.default]\nurl = %q\n", upstream.URL()))
	if running {
		s.start()
	}
	return s
}

// start runs a relay.
func (s *scene) start() {
	apptest.Run(s.t, s.cfg, io.Discard, nil)
	smtptest.WaitFor(s.t, "the control socket", func() bool {
		_, err := admin.NewClient(s.cfg.Admin.Socket).Health(s.t.Context())
		return err == nil
	})
}

// run runs the command with standard input and returns what it printed, on both, and its error.
func (s *scene) run(stdin string, args ...string) (string, error) {
	s.t.Helper()
	c := New(Options{
		Options: relaycmd.Options{
			Usage: func(err error) error { return fmt.Errorf("%w: %w", errUsage, err) },
			Flags: func(*cobra.Command) {},
			Load:  func() (*config.Config, error) { return s.cfg, nil },
		},
		Failed: errFailed,
	})
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetIn(strings.NewReader(stdin))
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(s.t.Context())
	return out.String(), err
}

// want runs the command, and wants an error, or nil, and parts of what it prints.
func (s *scene) want(wantErr error, stdin string, args []string, parts ...string) {
	s.t.Helper()
	out, err := s.run(stdin, args...)
	if !errors.Is(err, wantErr) {
		s.t.Errorf("%q: error %v, want %v\n%s", args, err, wantErr, out)
	}
	for _, p := range parts {
		if !strings.Contains(out, p) {
			s.t.Errorf("%q: no %q in\n%s", args, p, out)
		}
	}
}

// TestCommands: all commands do the same with a relay that runs and without one.
func TestCommands(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint("running ", running), func(t *testing.T) {
			s := newScene(t, running)
			words := func(text string) []string { return strings.Fields(text) }
			s.want(nil, "", words("list"), "no entry is selected")
			s.want(nil, "", words("check jane@dead.test"), "jane@dead.test is not on the list")
			s.want(nil, "", append(words("add jane@dead.test Bob@BÜCHER.test --for 30d --note"), "left us"),
				"added: jane@dead.test", "added: Bob@BÜCHER.test")
			s.want(nil, "", words("add jane@dead.test --for 10d"), "suppressed already")
			s.want(errFailed, "", words("add nobody"), `not added: "nobody": malformed address`)
			s.want(errFailed, "", words("add x@y.test --reason whim"), "not a reason")
			s.want(errUsage, "", words("add x@y.test --for soon"))
			s.want(errFailed, "", words("check JANE@dead.test"), "jane@dead.test: until 20", "left us",
				"mailwhy suppress remove JANE@dead.test")
			s.want(nil, "", words("list"), "jane@dead.test  manual  until 20", "Bob@xn--bcher-kva.test")
			s.want(nil, "", words("list --json --reason manual"), `"address":"jane@dead.test"`)
			s.want(errUsage, "", words("list --state dead"))
			s.want(nil, "", words("remove jane@dead.test bob@xn--bcher-kva.test"), "removed: jane@dead.test",
				"removed: bob@xn--bcher-kva.test")
			s.want(errFailed, "", words("remove jane@dead.test"), "jane@dead.test is not on the list")
			s.want(nil, "", words("add eve@dead.test --scope shop.test"))
			s.want(errFailed, "", words("check eve@dead.test --sender app@SHOP.test"), "mail of shop.test")
			s.want(nil, "", words("check eve@dead.test --sender other.test"), "not on the list")
			s.want(nil, "", words("remove eve@dead.test"))
		})
	}
}

// TestImport: lists of others are read with a report by line, what was exported comes back the same, and what
// is there stays.
func TestImport(t *testing.T) {
	s := newScene(t, true)
	list := "address,code,error,created_at\n" +
		"a@dead.test,550,5.1.1 No such user,\"Fri, 20 Nov 2026 10:00:00 +0000\"\n" +
		"b@dead.test,552,5.2.2 Mailbox full,\n" +
		"not an address,550,,\n" +
		"c@dead.test,450,4.1.1 try again later,\n" +
		"d@dead.test,550,\"5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy\",\n" +
		"e@dead.test,,,\n"
	s.want(errFailed, list, []string{"import", "-"},
		"line 3: b@dead.test: not about the address: mailbox_full",
		"line 4: \"not an address\": malformed",
		"line 5: c@dead.test: not about the address: a temporary refusal",
		"line 6: d@dead.test: not about the address: dmarc_fail",
		"added 2, suppressed already 0, not about the address 3, not valid 1")
	s.want(nil, "a@dead.test\ne@dead.test,COMPLAINT\n", []string{"import", "-"},
		"added 1, suppressed already 1")
	s.want(errFailed, "", []string{"check", "e@dead.test"}, "until it is removed", "spam_complaint")
	exported, err := s.run("", "export")
	if err != nil {
		t.Fatal(err)
	}
	other := newScene(t, false)
	file := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(file, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	other.want(nil, "", []string{"import", file}, "added 2, suppressed already 0")
	again, err := other.run("", "export")
	if err != nil || again != exported {
		t.Errorf("exported\n%s, and after its import\n%s%v", exported, again, err)
	}
}

// TestLargeImport: a list that is larger than a transaction is added whole.
func TestLargeImport(t *testing.T) {
	s := newScene(t, true)
	var b strings.Builder
	for i := range 5007 {
		fmt.Fprintf(&b, "a%d@dead.test\n", i)
	}
	s.want(nil, b.String(), []string{"import", "-"}, "added 5007,")
	s.want(nil, b.String(), []string{"import", "-"}, "added 0, suppressed already 5007")
	out, err := s.run("", "list", "--json")
	if n := strings.Count(out, "\n"); n != 5007 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestListInUse: a list that is open, but whose relay does not answer, is not opened a second time.
func TestListInUse(t *testing.T) {
	s := newScene(t, true)
	s.cfg.Admin.Socket += ".gone"
	if _, err := s.run("", "list"); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v", err)
	}
}
