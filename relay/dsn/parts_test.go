package dsn

import (
	"encoding/csv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/pelletier/go-toml/v2"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

func TestDigest(t *testing.T) {
	c := composer(t, nil)
	d, err := c.Preview("digest")
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "digest.eml", d.Content)
	checkLines(t, d.Content)
	parts := readEntity(t, string(d.Content)).parts(t, "multipart/mixed")
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	checkWords(t, parts[0], "relay.example.com")
	rows, err := csv.NewReader(strings.NewReader(parts[1].decoded(t))).ReadAll()
	if err != nil || len(rows) != 1+len(sampleDigest().Failures) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, f := range sampleDigest().Failures {
		if rows[i+1][0] != f.ID {
			t.Errorf("row %d is about %s, want %s", i, rows[i+1][0], f.ID)
		}
	}
}

func TestDigestRowIsNoFormula(t *testing.T) {
	f := relay.DigestFailure{Recipient: "=cmd()@example.net", MessageID: "+1",
		Reply: diagnose.ParseReply("550 a\r\n=b\n")}
	for _, cell := range digestRow(&f) {
		if cell != "" && strings.ContainsAny(cell[:1], "=+-@") || strings.ContainsAny(cell, "\r\n") {
			t.Errorf("cell %q", cell)
		}
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"Action", "failed", "Action: failed\r\n"},
		{"A", strings.Repeat("word ", 20),
			"A: " + strings.TrimSuffix(strings.Repeat("word ", 15), " ") +
				"\r\n word word word word word\r\n"},
		{"A", strings.Repeat("x", 100), "A: " + strings.Repeat("x", 100) + "\r\n"},
		{"A", "b " + strings.Repeat("x", 100), "A: b\r\n " + strings.Repeat("x", 100) + "\r\n"},
		{"A", "  ", ""},
	} {
		var h header
		h.add(tt.name, tt.value)
		if got := string(h.text); got != tt.want {
			t.Errorf("%s: %q:\n%q, want\n%q", tt.name, tt.value, got, tt.want)
		}
	}
}

// FuzzFold holds that unfolding restores the value, and that no line of a folded field is blank or could
// have been broken and was not.
func FuzzFold(f *testing.F) {
	f.Add("a b  c   d")
	f.Add(strings.Repeat("long words   ", 30))
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\r\n\t\v\f\u0085\u00a0") || strings.TrimSpace(s) == "" {
			return
		}
		var h header
		h.add("Name", s)
		got := string(h.text)
		for _, line := range strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n") {
			if strings.TrimSpace(line) == "" {
				t.Fatalf("%q has a blank line", got)
			}
		}
		if unfolded := strings.ReplaceAll(got, "\r\n", ""); unfolded != "Name: "+strings.TrimSpace(s) {
			t.Fatalf("%q unfolds to %q", s, unfolded)
		}
	})
}

func TestMTAName(t *testing.T) {
	for in, want := range map[string]string{
		"relay.example.com":  "dns; relay.example.com",
		"pod":                "x-local-hostname; pod",
		"192.0.2.1":          "x-local-hostname; 192.0.2.1",
		"[192.0.2.1]":        "x-local-hostname; [192.0.2.1]",
		"a..b":               "x-local-hostname; a..b",
		"bad host.example":   "x-local-hostname; bad host.example",
		`(a\`:                `x-local-hostname; ?a?`,
		"under_score.local.": "dns; under_score.local.",
	} {
		if got := mtaName(in); got != want {
			t.Errorf("mtaName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOriginalRecipient(t *testing.T) {
	for _, tt := range []struct {
		orcpt string
		utf8  bool
		want  string
	}{
		{"", false, ""},
		{"rfc822;Jane+2BDoe@example.net", false, "rfc822; Jane+Doe@example.net"},
		{"RFC822;a@b", false, "RFC822; a@b"},
		{"rfc822;a+0D+0AX:b", false, "rfc822; a??X:b"},
		{`utf-8;\x{7528}@d`, true, "utf-8; 用@d"},
		{`utf-8;\x{7528}@d`, false, `utf-8; \x{7528}@d`},
		{"rfc822;broken+", false, "rfc822; broken+"},
	} {
		if got := (statusFields{utf8: tt.utf8}).originalRecipient(tt.orcpt); got != tt.want {
			t.Errorf("%q, utf8 %v: %q, want %q", tt.orcpt, tt.utf8, got, tt.want)
		}
	}
}

// TestFitsEightBit holds what 8BITMIME takes (RFC 2045, 2.8).
func TestFitsEightBit(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for content, want := range map[string]bool{
		"": true, "a\r\nb\r\n": true, "\r\n\r\n": true, "no end": true, "gr\xfc\xdfe\r\n": true,
		long + "\r\n" + long: true,
		"a\n":                false, "\n": false, "a\rb\r\n": false, "a\r": false, "a\r\r\n": false,
		"a\r\nb\n\r": false, "a\x00\r\n": false,
		long + "x\r\n": false, "a\r\n" + long + "x": false,
	} {
		if got := fitsEightBit([]byte(content)); got != want {
			t.Errorf("%.20q: %v", content, got)
		}
	}
}

func TestTemplates(t *testing.T) {
	r := func() *relay.Report {
		return reportOf(relay.NoticeFailed, sampleContent,
			refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
	}
	for _, tt := range []struct{ name, source, want, err string }{
		{"a block alone", `{{define "subject"}}Bounced: {{len .Recipients}}{{end}}`,
			"Subject: Bounced: 1\r\n", ""},
		{"a helper", `{{define "x"}}!{{end}}{{define "subject"}}Bounced{{template "x"}}{{end}}`,
			"Subject: Bounced!\r\n", ""},
		{"not a template", `{{define "subject"}}{{`, "", "unclosed"},
		{"an unknown field", `{{define "subject"}}{{.Nothing}}{{end}}`, "", "Nothing"},
		{"an unknown word", `{{define "text"}}{{word "nothing"}}{{end}}`, "", "nothing"},
		{"nothing that is used", `{{define "sujet"}}{{end}}`, "", "defines none of"},
		{"stray text", `Hello {{define "subject"}}a{{end}}`, "", "outside of"},
		{"an empty subject", `{{define "subject"}}{{""}}{{end}}`, "", "subject is empty"},
		{"bad HTML", `{{define "html"}}<a href={{if .Host}}"{{end}}>{{end}}`, "", "html"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			templates, err := ParseTemplates(English, "own.tmpl", tt.source)
			var c *Composer
			if err == nil {
				o := testOptions()
				o.Templates = templates
				c, err = New(o)
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one about %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			d, err := c.Compose(r())
			if err != nil || !strings.Contains(string(d.Content), tt.want) {
				t.Errorf("%v; no %q in\n%.300s", err, tt.want, d.Content)
			}
		})
	}
}

// TestTemplateFailsInService holds that a template that fails costs nobody a bounce.
func TestTemplateFailsInService(t *testing.T) {
	templates, err := ParseTemplates(English, "own.tmpl",
		`{{define "subject"}}{{index .Recipients 7}}{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	c := composer(t, nil)
	c.o.Templates = templates // New would have refused it
	d, err := c.Compose(reportOf(relay.NoticeFailed, sampleContent,
		refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis())))
	if err != nil || !strings.Contains(string(d.Content), "Subject: Not delivered: jane@example.net") {
		t.Errorf("%v\n%.300s", err, d.Content)
	}
}

// TestLanguages holds that each language has every word, and no word that nothing uses.
func TestLanguages(t *testing.T) {
	keys := func(language string) []string {
		b, err := fs.ReadFile(files, "templates/"+language+".toml")
		if err != nil {
			t.Fatal(err)
		}
		var words map[string]string
		if err := toml.Unmarshal(b, &words); err != nil {
			t.Fatal(err)
		}
		var out []string
		for k := range words {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	for _, l := range Languages() {
		if !slices.Equal(keys(l), keys(English)) {
			t.Errorf("%s has other words than English", l)
		}
		if _, err := ParseTemplates(l, "", ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseTemplates("xx", "", ""); err == nil || !strings.Contains(err.Error(), English) {
		t.Errorf("an unknown language: %v", err)
	}
	for _, owner := range []diagnose.Owner{
		diagnose.OwnerApplication, diagnose.OwnerOperator, diagnose.OwnerSenderDomain,
		diagnose.OwnerRecipient,
		diagnose.OwnerRecipientAdmin, diagnose.OwnerUpstreamProvider,
	} {
		if !slices.Contains(keys(English), "owner_"+string(owner)) {
			t.Errorf("no words for the owner %s", owner)
		}
	}
}

// TestWordsOfAnotherLanguage holds that the sentences are data: other words, another bounce.
func TestWordsOfAnotherLanguage(t *testing.T) {
	words, err := parseLanguage(map[string]string{
		"lead_failed": `Nicht zugestellt: {whom}[ ("{subject}")][, Grund {categories}]`,
		"whom":        "{n} Empfänger",
	})
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template.Must(template.New("").Funcs(words.functions()).Parse(`{{say "lead_failed" .}}`))
	v := &View{Total: 2, Subject: "Rechnung"}
	var b strings.Builder
	if err := tmpl.Execute(&b, v); err != nil || b.String() != `Nicht zugestellt: 2 Empfänger ("Rechnung")` {
		t.Errorf("%q, %v", b.String(), err)
	}
	for _, source := range []string{"{whom", "{who}", "{}", "[x", "x]", "[[x]", "{{.Host}}"} {
		if _, err := parseLanguage(map[string]string{"lead_failed": source}); err == nil ||
			!strings.Contains(err.Error(), "lead_failed") {
			t.Errorf("%q: error %v", source, err)
		}
	}
}

func TestWriteMaildir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bounces")
	list := func(sub string) []string {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	write := func() {
		t.Helper()
		if err := WriteMaildir(dir, sampleDSNID, []byte("From: a\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	write()
	write()
	if len(list("new")) != 1 || len(list("tmp")) != 0 {
		t.Fatalf("new %v, tmp %v", list("new"), list("tmp"))
	}
	name := list("new")[0]
	b, err := os.ReadFile(filepath.Join(dir, "new", name))
	if err != nil || string(b) != "Return-Path: <>\r\nFrom: a\r\n\r\n" {
		t.Errorf("%q, %v", b, err)
	}
	// A mail reader took it; then a crash before its notices were consumed makes it come again.
	if err := os.Rename(filepath.Join(dir, "new", name), filepath.Join(dir, "cur", name+":2,S")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tmp", name), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	write()
	if len(list("new")) != 0 || len(list("cur")) != 1 {
		t.Errorf("new %v, cur %v", list("new"), list("cur"))
	}
	if err := WriteMaildir(filepath.Join(dir, "cur", name+":2,S"), sampleDSNID, nil); err == nil {
		t.Error("a maildir under a file: no error")
	}
}
