package democmd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/app"
)

// options make a relay as serve does.
func options() Options {
	return Options{
		Relay: func(cfg *config.Config, out io.Writer) (*app.Relay, error) {
			return app.New(app.Options{Config: cfg, Stdout: out, Log: slog.New(slog.DiscardHandler)})
		},
		UntilSignal: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithCancel(ctx)
		},
	}
}

// run runs the demo.
func run(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	c := New(options())
	c.SetArgs(args)
	c.SetOut(&out)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

// section is what stands below a title, up to the next one.
func section(t *testing.T, out, title string) string {
	t.Helper()
	_, rest, ok := strings.Cut(out, "\n=== "+title+"\n\n")
	if !ok {
		t.Fatalf("nothing is called %q in\n%s", title, out)
	}
	text, _, _ := strings.Cut(rest, "\n=== ")
	return text
}

// TestReadmeShowsTheDemo: README has the table that the demo prints, which fits into 80 columns.
func TestReadmeShowsTheDemo(t *testing.T) {
	t.Parallel()
	out := run(t)
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 &&
			!strings.HasPrefix(line, "Reply:") && !strings.HasPrefix(line, "            552") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("it is coloured, but no terminal")
	}
	table, _, _ := strings.Cut(section(t, out, "What became of the mail"), "\n\n")
	readme, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "\n"+table+"\n") {
		t.Errorf("README.md does not have this table:\n%s", table)
	}
	for title, want := range map[string]string{
		"One line of the delivery log, and what it tells":  "reason      dmarc_fail",
		"One of the bounces, as app@shop.example reads it": "Category:   Mailbox Full (mailbox_full)",
		"Where to look next":                               "mailwhy demo --full",
	} {
		if text := section(t, out, title); !strings.Contains(text, want) {
			t.Errorf("below %q stands no %q:\n%s", title, want, text)
		}
	}
}

// TestFull shows that --full has all of the log and a whole bounce, in colour where that is asked for.
func TestFull(t *testing.T) {
	t.Parallel()
	out := run(t, "--full", "--color=always")
	for _, want := range []string{
		"\x1b[32mrelayed\x1b[0m", "accepted", `"event":"failed"`, fullLater + "  0.",
		"Final-Recipient: rfc822;",
		"No message waits; 3 messages were relayed, 10 bounces were sent.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
