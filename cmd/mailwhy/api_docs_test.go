package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailwhy/relay/app"
	"mailwhy/relay/app/apptest"
	"mailwhy/relay/smtptest"
)

var update = flag.Bool("update", false, "write what the commands of docs/api.md print")

// TestDocumentedAPI runs the commands of docs/api.md one after the other against a running relay, and holds
// what they print against the page.
func TestDocumentedAPI(t *testing.T) {
	for _, program := range []string{"sh", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the examples use", program, "which is not installed")
		}
	}
	const page = "../../docs/api.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	dir, api := documentedRelay(t)
	var commands []string
	blocks := regexp.MustCompile("(?s)<!-- run -->\n```\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for _, b := range blocks {
		for _, c := range commandsOf(b[1]) {
			commands = append(commands, c.text)
		}
	}
	printed := runAll(t, dir, api, commands)
	got, n := string(text), 0
	for _, b := range blocks {
		var out strings.Builder
		for _, c := range commandsOf(b[1]) {
			fmt.Fprintf(&out, "$ %s\n%s", c.text, printed[n])
			if !*update && steady(printed[n]) != steady(c.output) {
				t.Errorf("$ %s\nprints\n%s, and the page has\n%s", c.text, printed[n], c.output)
			}
			n++
		}
		got = strings.Replace(got, b[0], "<!-- run -->\n```\n"+out.String()+"```", 1)
	}
	if n < 10 {
		t.Errorf("the page has only %d commands", n)
	}
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// documentedRelay is the relay that the page speaks of, with a message that waits, and where its API is.
func documentedRelay(t *testing.T) (dir, api string) {
	t.Helper()
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	file, cfg := apptest.Configure(t, fmt.Sprintf("[admin]\nlisten = \"127.0.0.1:0\"\n"+
		"[upstream.default]\nurl = %q\n", upstream.URL()))
	logged := &smtptest.Buffer{}
	r, _ := apptest.Run(t, cfg, logged, nil)
	submitTo(t, r, "full@shop.test")
	smtptest.WaitFor(t, "the deferral", func() bool {
		r.FlushLog()
		return strings.Contains(logged.String(), `"event":"deferred"`)
	})
	return filepath.Dir(file), "http://" + r.APIAddr().String() + "/v1"
}

// submitTo hands a mail to the relay.
func submitTo(t *testing.T, r *app.Relay, to string) {
	t.Helper()
	c, err := smtptest.Greet(t.Context(), r.Addrs()[0].String(), "app.test", smtptest.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, line := range []string{"MAIL FROM:<app@shop.test>", "RCPT TO:<" + to + ">"} {
		if err := c.Command("%s", line); err != nil {
			t.Fatal(err)
		}
	}
	c.Say("DATA")
	if err := c.Expect(3); err != nil {
		t.Fatal(err)
	}
	if err := c.Command("From: app@shop.test\r\nTo: %s\r\nSubject: hello\r\n\r\nhello\r\n.", to); err != nil {
		t.Fatal(err)
	}
}

// documented is a command of the page, and what it prints.
type documented struct{ text, output string }

// commandsOf are those of a block: a line that begins with "$ ", those that go on with it, and what is
// printed.
func commandsOf(block string) (all []documented) {
	open := false // the command goes on in the next line
	for line := range strings.Lines(block) {
		text, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			all = append(all, documented{text: strings.TrimSuffix(text, "\n")})
		case open:
			all[len(all)-1].text += "\n" + strings.TrimSuffix(line, "\n")
		default:
			all[len(all)-1].output += line
			continue
		}
		end := strings.TrimSpace(line)
		open = strings.HasSuffix(end, "\\") || strings.HasSuffix(end, "|")
	}
	return all
}

// runAll runs commands in one shell, and returns what each printed.
func runAll(t *testing.T, dir, api string, commands []string) []string {
	t.Helper()
	const mark = "\036"
	script := strings.Join(commands, "\nprintf '"+`\036`+"'\n")
	c := exec.CommandContext(t.Context(), "sh", "-c", script)
	c.Dir, c.Env = dir, append(os.Environ(), "API="+api)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("the commands of the page: %v\n%s", err, out)
	}
	printed := strings.Split(string(out), mark)
	if len(printed) != len(commands) {
		t.Fatalf("%d commands, and what %d printed", len(commands), len(printed))
	}
	return printed
}

// steady is text with what differs from run to run made the same.
func steady(text string) string {
	for _, r := range []struct{ what, as string }{
		{`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "TIME"}, {`[0-9A-HJKMNP-TV-Z]{24}`, "ID"},
		{`id: [0-9a-z]+-\d+`, "id: EVENT"}, {`mailwhy_[A-Za-z0-9_-]{43}`, "TOKEN"},
	} {
		text = regexp.MustCompile(r.what).ReplaceAllString(text, r.as)
	}
	return text
}
