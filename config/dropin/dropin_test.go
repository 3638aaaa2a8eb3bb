package dropin

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// files are those that the rows name.
func files() fstest.MapFS {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	return fstest.MapFS{
		"run/secrets/client":                text("id-from-file\n"),
		"keys/var/spool/postfix/maildrop/x": text(""), "keys/docker-init.d/x.sh": text(""),
		"etc/checks": text("# a comment\n/^X-Mailer:/ IGNORE\n/^User-Agent:.*$/i\tSTRIP seen\n" +
			"/^Received:/ IGNORE\n/^X-Spam: yes/ IGNORE\n/^Subject:/ REPLACE Subject: x\n/^From:/ DUNNO\n"),
		"keys/etc/opendkim/keys/shop.example.private":         text("key"),
		"keys/etc/opendkim/keys/Other.Example.private":        text("key"),
		"keys/var/lib/rspamd/dkim/third.example.s2026.key":    text("key"),
		"keys/var/lib/rspamd/dkim/shop.example.forgotten.key": text("key"),
	}
}

// read reads an environment, with the files that it names below dir.
func read(t *testing.T, dir string, env ...string) Result {
	t.Helper()
	sub, err := files().Sub(dir)
	if err != nil {
		t.Fatal(err)
	}
	return Read(Input{Env: env, Files: sub, OwnNetwork: func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.IsPrivate() || !strings.Contains(host, ".") && err != nil
	}})
}

// settings are the settings of a result, a line each.
func settings(r Result) (lines []string) {
	for _, s := range r.Settings {
		lines = append(lines, fmt.Sprintf("%s = %v", s.Path, s.Value))
	}
	return lines
}

// notes are the notes of a result, a line each.
func notes(r Result) (lines []string) {
	for _, n := range r.Notes {
		lines = append(lines, n.String())
	}
	return lines
}

// missing are the entries of want that begin no line.
func missing(lines, want []string) (not []string) {
	for _, w := range want {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, w) }) {
			not = append(not, w)
		}
	}
	return not
}

// row is a block of testdata/variables.txt.
type row struct {
	name, dir, not   string
	env, want, notes []string
}

// rows are the blocks of testdata/variables.txt.
func rows(t *testing.T) (all []row) {
	t.Helper()
	text, err := os.ReadFile("testdata/variables.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		kind, rest, _ := strings.Cut(line, " ")
		if kind == "#" {
			all = append(all, row{name: rest, dir: "."})
		}
		if line == "" || kind == "#" || strings.HasPrefix(line, "//") {
			continue
		}
		r := &all[len(all)-1]
		switch kind {
		case "@":
			r.dir = rest
		case "=":
			r.want = append(r.want, rest)
		case ">":
			r.notes = append(r.notes, rest)
		case "!":
			r.not = rest
		default:
			r.env = append(r.env, line)
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d blocks", len(all))
	}
	return all
}

// TestVariables: each variable becomes what it says, and has its note.
func TestVariables(t *testing.T) {
	for _, tt := range rows(t) {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, tt.dir, tt.env...)
			got, said := settings(r), notes(r)
			if m := missing(got, tt.want); len(m) > 0 {
				t.Errorf("not set: %q\nin %q", m, got)
			}
			if m := missing(said, tt.notes); len(m) > 0 {
				t.Errorf("not noted: %q\nin %q", m, said)
			}
			if tt.not != "" && len(missing(got, []string{tt.not})) == 0 {
				t.Errorf("set: %q", got)
			}
			if len(r.Mistakes) > 0 {
				t.Errorf("mistakes: %v", r.Mistakes)
			}
			for _, pair := range tt.env {
				if name, _, _ := strings.Cut(pair, "="); len(missing(said, []string{name + " "})) > 0 {
					t.Errorf("%s has no note in %q", name, said)
				}
			}
			if strings.Contains(strings.Join(said, "\n"), "hush") {
				t.Errorf("a secret is shown: %q", said)
			}
		})
	}
}

// TestRelayhostMistakes: no relay starts with a relay host that is not understood.
func TestRelayhostMistakes(t *testing.T) {
	for value, want := range map[string]string{
		"a.example, b.example": "names several hosts",
		"[a.example":           "is not a host",
		"u:PASSWORD@a.example": "RELAYHOST_USERNAME",
		"[a.example]587":       "is not a host",
		"smtp://a.example":     "is not a host and a port",
		"a.example:0":          `"0" is not a port`,
		"a.example:99999":      `"99999" is not a port`,
	} {
		r := read(t, ".", "RELAYHOST="+value)
		if len(r.Mistakes) != 1 || !strings.Contains(r.Mistakes.Error(), want) ||
			strings.Contains(r.Mistakes.Error(), "u:PASSWORD") {
			t.Errorf("%s: %v, want %s", value, r.Mistakes, want)
		}
	}
	r := read(t, ".", "RELAYHOST=a", "POSTFIX_mynetworks=cidr:/etc/postfix/networks")
	if len(r.Mistakes) != 1 || !strings.Contains(r.Mistakes.Error(), "POSTFIX_mynetworks") {
		t.Errorf("no network: %v", r.Mistakes)
	}
	if r := read(t, ".", "RELAYHOST=a", "XOAUTH2_CLIENT_ID_FILE=/gone"); len(r.Mistakes) != 1 {
		t.Errorf("a file that is gone: %v", r.Mistakes)
	}
}

// TestUsersOnce: a user in full and one without a domain that would be the same are each there once.
func TestUsersOnce(t *testing.T) {
	r := read(t, ".", "RELAYHOST=a", "POSTFIX_myhostname=h.b.example",
		"SMTPD_SASL_USERS=joe@b.example:x,joe:y")
	for _, s := range r.Settings {
		if s.Path == "access.users" && strings.Count(fmt.Sprint(s.Value), "joe@b.example:") != 1 {
			t.Errorf("%v", s.Value)
		}
	}
	if len(r.Mistakes) > 0 || !slices.Contains(notes(r), "SMTPD_SASL_USERS became access.users, 2 names") {
		t.Errorf("%v, %q", r.Mistakes, notes(r))
	}
}

// TestServiceLinks: variables that Kubernetes makes for a service called postfix or relayhost are not ours.
func TestServiceLinks(t *testing.T) {
	env := []string{"RELAYHOST=a", "POSTFIX_SERVICE_HOST=10.0.0.1", "POSTFIX_PORT=tcp://10.0.0.1:25",
		"POSTFIX_PORT_25_TCP_ADDR=10.0.0.1", "POSTFIX_MAIL_SERVICE_PORT_SMTP=587"}
	for _, n := range read(t, ".", env...).Notes {
		if strings.HasPrefix(n.Variable, "POSTFIX_") {
			t.Errorf("noted: %s", n)
		}
	}
}

// FuzzRead: whatever the variables hold, no relay host is made of nothing, and each variable has its note.
func FuzzRead(f *testing.F) {
	for _, seed := range [][3]string{{"[a.example]:587", "1d", "a=b,c"}, {"a:b:c", "x", "hash?salt"}, {}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, host, value, list string) {
		env := []string{"RELAYHOST=" + host, "POSTFIX_maximal_queue_lifetime=" + value,
			"POSTFIX_default_destination_rate_delay=" + value, "POSTFIX_mynetworks=" + list,
			"DKIM_SELECTOR=" + list, "SMTPD_SASL_USERS=" + value, "ANONYMIZE_EMAILS=" + list,
			"MASQUERADED_DOMAINS=" + list}
		r := Read(Input{Env: env, Files: fstest.MapFS{}, OwnNetwork: func(string) bool { return false }})
		for _, s := range r.Settings {
			if s.Path == upstream+"host" && s.Value == "" {
				t.Errorf("an empty host of %q", host)
			}
		}
		without := missing(notes(r), []string{"POSTFIX_maximal_queue_lifetime "})
		if strings.TrimSpace(value) != "" && len(without) > 0 {
			t.Errorf("no note of %q in %q", value, notes(r))
		}
	})
}
