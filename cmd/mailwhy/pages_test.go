package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/diagnose"
)

// block is a fenced block of a page.
type block struct {
	page string
	line int
	lang string
	text string
}

func (b block) where() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// pages are README and what it links.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(list) < 10 {
		t.Fatal(list, err)
	}
	return append(list, "../../README.md")
}

// blocksOf are the fenced blocks of a page.
func blocksOf(t *testing.T, page string) (list []block) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	open, n := false, 0
	for line := range strings.Lines(string(content)) {
		n++
		switch fence := strings.TrimSpace(line); {
		case !strings.HasPrefix(fence, "```") && open:
			list[len(list)-1].text += line
		case strings.HasPrefix(fence, "```") && !open:
			open = true
			list = append(list, block{filepath.Base(page), n, strings.TrimPrefix(fence, "```"), ""})
		case strings.HasPrefix(fence, "```"):
			open = false
		}
	}
	return list
}

// TestConfigurationsInPages loads every configuration that the pages show. Where a part is shown, the rest is
// added. That files which it names are not here is no mistake of the page.
func TestConfigurationsInPages(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page) {
			if b.lang != "toml" {
				continue
			}
			n++
			if ofRules(b.text) {
				if err := explains(t, b.text); err != nil {
					t.Errorf("%s: %v\n%s", b.where(), err, b.text)
				}
				continue
			}
			if err := loads(t, b.text); err != nil {
				t.Errorf("%s: %v\n%s", b.where(), err, b.text)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d configurations were found", n)
	}
}

// ofRules reports whether a block is of a file for diagnose.rules_file.
func ofRules(text string) bool {
	table := regexp.MustCompile(`(?m)^\[\[(rule|reason|category|advice|told|provider_code)\]\]`)
	return table.MatchString(text)
}

// explains reads a file of rules, with its examples, which are tests.
func explains(t *testing.T, text string) error {
	t.Helper()
	_, err := diagnose.New(diagnose.Options{Rules: []byte(text), RulesName: "rules.toml"})
	return err
}

// elsewhere are mistakes that only this machine has: what a page names is not here.
var elsewhere = regexp.MustCompile(`no such file or directory|is not there|cannot be read`)

// loads loads a configuration, with an upstream if it has none.
func loads(t *testing.T, text string) error {
	t.Helper()
	top, _, _ := strings.Cut("\n"+text, "\n[")
	if !strings.Contains(text, "[upstream") && !strings.Contains(top, "\nupstream = ") {
		text += "\n[upstream.default]\nhost = \"smtp.example.com\"\n"
	}
	for range 3 { // what is added may need more
		err := loadText(t, text)
		more := ""
		if err != nil {
			more = missing(err.Error(), text)
		}
		if more == "" {
			return err
		}
		text += more
	}
	return loadText(t, text)
}

// missing is the rest of a configuration of which a page shows a part: the upstreams and clients that it
// names.
func missing(mistakes, text string) (more string) {
	for _, m := range regexp.MustCompile(`there is no upstream "(\w+)"`).FindAllStringSubmatch(mistakes, -1) {
		if section := "[upstream." + m[1] + "]"; !strings.Contains(text+more, "\n"+section) {
			more += "\n" + section + "\nhost = \"smtp.example.com\"\n"
		}
	}
	client := regexp.MustCompile(`no \[\[client\]\] is called "(\w+)"`)
	for _, m := range client.FindAllStringSubmatch(mistakes, -1) {
		more += "\n[[client]]\nname = \"" + m[1] + "\"\nnetworks = [\"10.0.0.0/24\"]\n"
	}
	if strings.Contains(mistakes, "there are several upstreams") {
		more += "\n[[route]]\nupstreams = [\"default\"]\n"
	}
	return more
}

// loadText loads a configuration in an environment that a cloud provides.
func loadText(t *testing.T, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(config.Source{File: file, Env: []string{
		"AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/token", "AZURE_TENANT_ID=example.com",
		"AZURE_CLIENT_ID=00000000-0000-0000-0000-000000000000"}})
	if err == nil {
		return nil
	}
	var left []string
	for line := range strings.Lines(err.Error()) {
		if !elsewhere.MatchString(line) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(left, "\n"))
}

// shownCommand is a mailwhy command that a page shows.
type shownCommand struct {
	block
	args   []string
	inline bool // in the text: it may name placeholders
}

// shownCommandsOf are the commands that a page shows.
func shownCommandsOf(t *testing.T, page string) (list []shownCommand) {
	t.Helper()
	for _, b := range blocksOf(t, page) {
		if b.lang != "" && !slices.Contains([]string{"sh", "bash", "console", "shell"}, b.lang) {
			continue
		}
		lines := strings.Split(strings.ReplaceAll(b.text, "\\\n", " "), "\n")
		for i, line := range lines {
			if i+1 < len(lines) && strings.HasPrefix(lines[i+1], "mailwhy: error: ") {
				continue // the page shows a mistake
			}
			if b.lang == "" && !strings.HasPrefix(b.text, "mailwhy ") && !strings.HasPrefix(line, "$ ") {
				continue // output, in which the word may begin a line
			}
			for _, args := range invocations(line) {
				list = append(list, shownCommand{b, args, false})
			}
		}
	}
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`(mailwhy [^`]+)`").FindAllStringSubmatch(string(content), -1) {
		for _, args := range invocations(strings.ReplaceAll(m[1], "\n", " ")) {
			list = append(list, shownCommand{block{page: filepath.Base(page)}, args, true})
		}
	}
	return list
}

// invocations are the arguments of each call of mailwhy in a line of shell.
func invocations(line string) (list [][]string) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
	before := regexp.MustCompile(`^([A-Z_]+=.*|sudo|exec|go|run)$`)
	for _, words := range split(line) {
		for len(words) > 0 && before.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 1 && slices.Contains([]string{"mailwhy", "./mailwhy", "./cmd/mailwhy"}, words[0]) {
			list = append(list, words[1:])
		}
	}
	return list
}

// split parts a line of shell into commands and their words. Redirections and comments are left out.
func split(line string) (commands [][]string) {
	var words []string
	word, in, quote := "", false, rune(0)
	end := func() {
		if in {
			words = append(words, word)
		}
		word, in = "", false
	}
	flush := func() {
		end()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	skip := false // the target of a redirection
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, in = r, true
		case r == '#' && !in && (i == 0 || line[i-1] == ' '):
			flush()
			return commands
		case r == '|' || r == ';' || r == '&':
			skip = false
			flush()
		case r == '>' || r == '<':
			if len(word) == 1 && strings.Contains("012", word) {
				word, in = "", false
			}
			end()
			skip = true
		case r == ' ' || r == '\t' || r == '\n':
			if skip && in {
				word, in, skip = "", false, false
			}
			end()
		default:
			word, in = word+string(r), true
		}
	}
	if skip {
		in = false
	}
	flush()
	return commands
}

// placeholder is a word of a synopsis, not of a command line.
var placeholder = regexp.MustCompile(`^\[|\]$|^\.\.\.$|…|^<.*>$|^COMMAND$`)

// parses checks that a command line exists: the subcommand, its flags, and how many arguments it takes.
func parses(c shownCommand) error {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if slices.ContainsFunc(c.args, placeholder.MatchString) {
		return nil
	}
	sub, rest, err := root.Find(c.args)
	if err != nil {
		return err
	}
	if sub == root && (len(rest) == 0 || !strings.HasPrefix(rest[0], "-")) {
		return fmt.Errorf("no such command: %s", strings.Join(c.args, " "))
	}
	if sub.DisableFlagParsing { // it reads foreign flags, as sendmail does
		return nil
	}
	sub.InitDefaultHelpFlag()
	if err := sub.ParseFlags(rest); err != nil {
		if c.inline && strings.Contains(err.Error(), "invalid argument") ||
			c.inline && strings.Contains(err.Error(), "needs an argument") {
			return nil
		}
		return err
	}
	if c.inline || sub.HasSubCommands() {
		return nil
	}
	return sub.ValidateArgs(sub.Flags().Args())
}

// TestCommandsInPages: every command line of a page has a subcommand, flags and arguments that there are, and
// those that ask nobody are run.
func TestCommandsInPages(t *testing.T) {
	n, ran := 0, 0
	for _, page := range pages(t) {
		for _, c := range shownCommandsOf(t, page) {
			n++
			if err := parses(c); err != nil {
				t.Errorf("%s: mailwhy %s: %v", c.where(), strings.Join(c.args, " "), err)
				continue
			}
			if !c.inline && asksNobody(c.args) {
				ran++
				var out, errOut bytes.Buffer
				if code := run(c.args, strings.NewReader(""), &out, &errOut); code != 0 {
					t.Errorf("%s: mailwhy %s ends with %d: %s", c.where(), strings.Join(c.args, " "), code,
						errOut.String())
				}
			}
		}
	}
	if n < 100 || ran < 5 {
		t.Errorf("only %d commands were found, and %d were run", n, ran)
	}
}

// asksNobody reports whether a command can be run here: it needs neither a file, a relay nor input.
func asksNobody(args []string) bool {
	switch args[0] {
	case "guide", "version":
		return true
	case "diagnose":
		return len(args) > 1 && !slices.ContainsFunc(args[1:], func(a string) bool {
			return strings.HasPrefix(a, "-") && a != "--json" || strings.HasSuffix(a, ".log") || a == "..."
		})
	}
	return false
}

// TestSettingsAreExplained: every key of relay.example.toml is in the tables of docs/configuration.md. That
// these have every key there is, config tests; so nothing is in the one and not in the other.
func TestSettingsAreExplained(t *testing.T) {
	example, err := os.ReadFile("../../relay.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")
	for _, m := range row.FindAllStringSubmatch(string(tables), -1) {
		known[m[1]] = true
	}
	shown := map[string]bool{}
	setting := regexp.MustCompile(`(?m)^(?:# )?([a-z0-9_]+) = `)
	for _, m := range setting.FindAllStringSubmatch(string(example), -1) {
		shown[m[1]] = true
		if !known[m[1]] {
			t.Errorf("relay.example.toml has %s, which docs/configuration.md does not explain", m[1])
		}
	}
	for key := range known {
		if !shown[key] {
			t.Errorf("docs/configuration.md explains %s, which relay.example.toml does not show", key)
		}
	}
}

// words is a text in one line. What an answer of diagnose rests on is left out: it shifts with the rules.
func words(text string) string {
	before, _, _ := strings.Cut(strings.Join(strings.Fields(text), " "), " basis ")
	return before
}

// TestOutputInPages compares the output that a page shows of a command with the one that it has, but for line
// ends and blanks: pages wrap it. "..." stands for what was left out.
func TestOutputInPages(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page) {
			line, shown, _ := strings.Cut(strings.ReplaceAll(b.text, "\\\n", " "), "\n")
			calls := invocations(line)
			if !strings.HasPrefix(line, "$ ") || len(calls) != 1 || !asksNobody(calls[0]) ||
				strings.ContainsAny(line, "|<>") {
				continue
			}
			n++
			var out, errOut bytes.Buffer
			if code := run(calls[0], strings.NewReader(""), &out, &errOut); code != 0 {
				continue // TestCommandsInPages tells
			}
			rest := words(out.String())
			for part := range strings.SplitSeq(words(shown), " ... ") {
				_, after, found := strings.Cut(rest, strings.TrimSuffix(part, " ..."))
				if !found {
					t.Errorf("%s: mailwhy %s does not print\n%s\nbut\n%s", b.where(),
						strings.Join(calls[0], " "), part, out.String())
					break
				}
				rest = after
			}
		}
	}
	if n < 3 {
		t.Errorf("only %d outputs were compared", n)
	}
}
