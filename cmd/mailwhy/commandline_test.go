package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra/doc"
)

var manDir = flag.String("man", "", "write the manual pages into this `directory`")

// stderrOf runs a command line and returns the status and what it says is wrong.
func stderrOf(args string) (int, string) {
	var out, errOut bytes.Buffer
	status := run(strings.Fields(args), strings.NewReader(""), &out, &errOut)
	return status, errOut.String()
}

// TestHints: a wrong command line is answered with the nearest right one, and where help is.
func TestHints(t *testing.T) {
	for args, want := range map[string]string{
		"serv":                   `did you mean "serve"?`,
		"queue lst":              `did you mean "list"?`,
		"queue nothinglikeit":    "the commands are drop, export, ",
		"serve --upstrem x":      `did you mean "--upstream"?`,
		"log --evnt x":           `did you mean "--event"?`,
		"queue list --spol x":    `did you mean "--spool"?`,
		"diagnose --spool x y":   "--spool is a flag of ",
		"guide -c relay.toml":    "-c is a flag of ",
		"queue list --nothing x": "mailwhy queue list --help",
	} {
		status, got := stderrOf(args)
		if status != exitUsage || !strings.Contains(got, "mailwhy: hint: "+want) {
			t.Errorf("%s: %d\n%s", args, status, got)
		}
	}
	dir := t.TempDir()
	_, got := stderrOf("queue list --spool " + dir)
	if !strings.Contains(got, "name the relay with -c FILE") {
		t.Errorf("without a relay: %s", got)
	}
}

// TestCheckRoundTrip: what check prints is a configuration again, of the same values, secrets in files too.
func TestCheckRoundTrip(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	password := write("password", "secret\n")
	check := func(file string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if status := run([]string{"check", "-c", file}, strings.NewReader(""), &out, &errOut); status != 0 {
			t.Fatalf("%d\n%s\n%s", status, &errOut, &out)
		}
		return out.String()
	}
	first := check(write("first.toml", "[spool]\ndir = \""+filepath.Join(dir, "spool")+
		"\"\n[upstream.default]\nhost = \"smtp.example.com\"\nusername = \"me\"\npassword_file = \""+password+
		"\"\n[[webhook]]\nname = \"shop\"\nurl = \"https://shop.example/hook\"\nsecret_file = \""+
		write("hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")+"\"\n"))
	second := check(write("second.toml", first))
	values := func(s string) string { // without where each comes from
		var b strings.Builder
		for line := range strings.Lines(s) {
			line, _, _ = strings.Cut(line, "#")
			b.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
		return b.String()
	}
	if values(first) != values(second) {
		t.Errorf("first\n%s\nthen\n%s", first, second)
	}
	if strings.Contains(first, "secret\"") {
		t.Errorf("a secret is printed:\n%s", first)
	}
}

// TestCompletion: shells are told commands, values of flags, and the ids in the queue.
func TestCompletion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	startRelay(t, dir)
	for args, want := range map[string]string{
		"__complete qu":                              "queue\t",
		"__complete log --event rel":                 "relayed\n",
		"__complete log --owner op":                  "operator\n",
		"__complete log --format e":                  "ecs\n",
		"__complete queue list --state he":           "held\n",
		"__complete queue show --spool " + dir + " ": ":4\n", // nothing, and no files
	} {
		var out, errOut bytes.Buffer
		words := strings.Split(args, " ")
		if status := run(words, strings.NewReader(""), &out, &errOut); status != 0 ||
			!strings.Contains(out.String(), want) {
			t.Errorf("%s: %d\n%s%s", args, status, &out, &errOut)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, errOut bytes.Buffer
		if status := run([]string{"completion", shell}, nil, &out, &errOut); status != 0 || out.Len() < 500 {
			t.Errorf("%s: %d, %d bytes, %s", shell, status, out.Len(), &errOut)
		}
	}
}

// TestManPages makes the manual pages of all commands; with -man DIR into that directory (scripts/man.sh).
func TestManPages(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := newRootCommand()
	root.DisableAutoGenTag = true // the same pages from the same commands
	header := &doc.GenManHeader{Title: "MAILWHY", Section: "1", Source: "mailwhy", Manual: "mailwhy"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	for page, want := range map[string]string{
		"mailwhy.1": "mailwhy-serve(1)", "mailwhy-log.1": `\fB--since\fP`,
		"mailwhy-queue-list.1": `\fB--older-than\fP`,
	} {
		if b, err := os.ReadFile(filepath.Join(dir, page)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v, no %q in\n%s", page, err, want, b)
		}
	}
}
