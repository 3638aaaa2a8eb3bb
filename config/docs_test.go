package config

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config/value"
)

var update = flag.Bool("update", false, "write the tables of settings into docs/configuration.md")

// derived are the keys whose default depends on the machine or on other settings, with what the table says
// of it. Their value in Default is empty.
func derived() map[string]string {
	return map[string]string{
		"hostname":                  "the machine's name",
		"listen.address":            "`127.0.0.1:2525`",
		"listen.tls":                "by certificate",
		"listen.mode":               "`0660`",
		"listen.tls_min_version":    "`tls.min_version`",
		"client.auth":               "`tls`; `clear` if lenient",
		"content.default_domain":    "`hostname`, if it has a dot",
		"client.name":               "`local`",
		"client.networks":           "`127.0.0.0/8`, `::1/128`",
		"dkim.domain":               "required",
		"dkim.selector":             "required",
		"dkim.key_file":             "required",
		"dkim.headers":              "see [signing](dkim.md)",
		"dkim.oversign":             "see [signing](dkim.md)",
		"route.name":                "`route N`",
		"route.upstreams":           "the only upstream",
		"policy.name":               "`policy N`",
		"policy.action":             "required",
		"rewrite.name":              "`rewrite N`",
		"rewrite.preset":            "`none`",
		"archive.bcc":               "required",
		"sandbox.dir":               "sandbox in `spool.dir`",
		"spool.dir":                 "see below",
		"admin.socket":              "in `spool.dir`",
		"admin.tokens_file":         "in `spool.dir`",
		"dsn.from":                  "postmaster@`hostname`",
		"upstream.NAME.host":        "required",
		"upstream.NAME.endpoint":    "by `region` or `oauth_provider`",
		"upstream.NAME.mailbox":     "`username`",
		"upstream.NAME.port":        "by TLS mode",
		"upstream.NAME.tls":         "by port",
		"upstream.NAME.server_name": "`host`",
		"upstream.NAME.ca_file":     "system CAs",
		"upstream.NAME.hello":       "`hostname`, or the address",

		"upstream.NAME.proxy_ca_file": "system CAs",

		"webhook.name":              "required",
		"webhook.url":               "required",
		"webhook.secret":            "required",
		"webhook.events":            "see [webhooks](webhooks.md)",
		"webhook.batch":             "1",
		"webhook.concurrency":       "4",
		"webhook.timeout":           "`20s`",
		"webhook.disable_after":     "`72h`",
		"webhook.private_addresses": "`allowed`",
		"webhook.ca_file":           "system CAs",

		"feedback.listen":       "`127.0.0.1:9126` if there are webhooks",
		"feedback.webhook.name": "`provider`",
		"feedback.webhook.path": "`/PROVIDER`",

		"listen.role":             "`mail`",
		"listen.protocol":         "`smtp`",
		"listen.accept_mode":      "`accept.mode`",
		"client.accept_mode":      "`listener`",
		"feedback.mailbox.name":   "`username`",
		"feedback.mailbox.port":   "by TLS mode",
		"feedback.mailbox.tls":    "`implicit`",
		"feedback.mailbox.folder": "`INBOX`",
		"feedback.mailbox.after":  "`leave`",

		"upstream.NAME.role_arn":                  "by environment",
		"upstream.NAME.web_identity_token_file":   "by environment",
		"upstream.NAME.sts_endpoint":              "by `region`",
		"upstream.NAME.container_credentials_uri": "by environment",
		"upstream.NAME.container_token":           "by environment",
		"upstream.NAME.container_token_file":      "by environment",

		"upstream.NAME.auth":                       "by credentials",
		"upstream.NAME.oauth_grant":                "by the files",
		"upstream.NAME.oauth_subject":              "`username`",
		"upstream.NAME.oauth_scope":                "by provider",
		"upstream.NAME.oauth_token_url":            "by provider",
		"upstream.NAME.oauth_federated_token_file": "by environment",
	}
}

// documented are the settings in the order of the tables: one upstream, one listener and one client stand
// for all.
func documented() []key {
	c := withUpstreams([]string{"NAME"})
	oneOfEach(reflect.ValueOf(c).Elem())
	ks := keys(c)
	for i := range ks {
		ks[i].path = strings.ReplaceAll(ks[i].path, "[0]", "")
	}
	return ks
}

// TestSettingsTables: docs/configuration.md lists every setting with its type, default and variable. Run
// the test with -update to write the tables.
func TestSettingsTables(t *testing.T) {
	const file, begin, end = "../docs/configuration.md", "<!-- settings -->\n", "<!-- end of settings -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	}
	want := settingsTables()
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the tables in %s are out of date; run this test with -update. They should be:\n%s",
			file, want)
	}
}

// settingsTables are the tables, one per section.
func settingsTables() string {
	var b strings.Builder
	section := "\x00"
	for _, k := range documented() {
		parent, name := "", k.path
		if i := strings.LastIndexByte(k.path, '.'); i >= 0 {
			parent, name = k.path[:i], k.path[i+1:]
		}
		if parent != section {
			section = parent
			fmt.Fprintf(&b, "\n### %s\n\n| key | type | default | environment |\n|---|---|---|---|\n",
				title(parent))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, typeOf(k), defaultOf(k), variableOf(k.path))
	}
	return b.String() + "\n"
}

// lists are the sections of which there may be several.
func lists() []string {
	return []string{"listen", "client", "route", "policy", "rewrite", "archive", "dkim", "feedback.webhook",
		"feedback.mailbox", "webhook"}
}

// title is the heading of a section.
func title(section string) string {
	switch {
	case section == "":
		return "Top level"
	case slices.Contains(lists(), section):
		return "`[[" + section + "]]`"
	}
	return "`[" + section + "]`"
}

// typeOf says what can be written for a key.
func typeOf(k key) string {
	if words := k.tag.Get("oneof"); words != "" {
		return strings.Join(strings.Fields(words), ", ")
	}
	low, high := k.tag.Get("min"), k.tag.Get("max")
	name := typeName(k.value.Type())
	switch {
	case low != "" && high != "":
		return name + ", " + low + " to " + high
	case low != "":
		return name + ", from " + low
	case high != "":
		return name + ", up to " + high
	}
	return name
}

// typeName names a type as "Values" in docs/configuration.md does.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[value.Size]():
		return "size"
	case reflect.TypeFor[value.Rate]():
		return "rate"
	case reflect.TypeFor[value.Schedule]():
		return "schedule"
	case reflect.TypeFor[value.FileMode]():
		return "file mode"
	case reflect.TypeFor[value.Date]():
		return "date"
	case reflect.TypeFor[value.Secret]():
		return "secret"
	case reflect.TypeFor[[]value.Secret]():
		return "secret, or list"
	case reflect.TypeFor[[]netip.Prefix]():
		return "networks"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "list"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	}
	return "text"
}

// defaultOf is the default of a key, "" when it has none.
func defaultOf(k key) string {
	if text, ok := derived()[k.path]; ok {
		return text
	}
	if l, ok := k.value.Interface().([]string); ok {
		return codes(l)
	}
	if k.value.IsZero() && (k.value.Kind() == reflect.String || k.value.Kind() == reflect.Struct) ||
		isEmptyList(k.value) {
		return ""
	}
	return "`" + strings.Trim(show(k.value), `"`) + "`"
}

// codes are the words of a list in a code span.
func codes(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, ", ") + "`"
}

func isEmptyList(v reflect.Value) bool { return v.Kind() == reflect.Slice && v.Len() == 0 }

// variableOf is the variable of a key; listeners and clients have one each for the whole list.
func variableOf(path string) string {
	switch {
	case path == "listen.address", path == "client.networks":
		list, _, _ := strings.Cut(path, ".")
		return "`" + envPrefix + strings.ToUpper(list) + "`"
	case slices.ContainsFunc(lists(), func(list string) bool { return strings.HasPrefix(path, list+".") }):
		return ""
	}
	path = strings.Replace(path, "upstream.NAME.", "upstream.", 1)
	return "`" + envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_")) + "`"
}

// TestSettingsVariables: the variables in the tables are those that Load reads.
func TestSettingsVariables(t *testing.T) {
	known, _ := envNames(nil)
	for _, k := range documented() {
		name := strings.Trim(variableOf(k.path), "`")
		want := strings.Replace(k.path, "upstream.NAME.", "upstream.default.", 1)
		if list, _, _ := strings.Cut(k.path, "."); list == "listen" || list == "client" || list == "route" {
			want = list
		}
		if name != "" && known[name] != want {
			t.Errorf("the table gives %s for %s, but it sets %q", name, k.path, known[name])
		}
	}
}

// TestDerivedDefaults: what the tables call derived has no default of its own.
func TestDerivedDefaults(t *testing.T) {
	rest := derived()
	for _, k := range documented() {
		if _, ok := rest[k.path]; ok && !k.value.IsZero() {
			t.Errorf("%s has the default %s", k.path, show(k.value))
		}
		delete(rest, k.path)
	}
	for path := range rest {
		t.Errorf("there is no setting %s", path)
	}
}

// TestExampleComments: in the example, a setting that is commented out has no default, and the comment
// beside a setting lists the words that it allows. What a preset can set is commented out, with its default.
func TestExampleComments(t *testing.T) {
	text, err := os.ReadFile("../relay.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string]key{}
	for _, k := range documented() {
		byPath[strings.Replace(k.path, "upstream.NAME.", "upstream.default.", 1)] = k
	}
	section, line := "", regexp.MustCompile(`^(# )?([a-z_]+) = ("[^"]*"|\[[^]]*\]|[^ ]+)\s*(?:# (.*))?$`)
	for text := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^(?:# )?\[+([a-z_.]+)\]+\s*$`).FindStringSubmatch(text); m != nil {
			section = m[1] + "."
		}
		m := line.FindStringSubmatch(strings.TrimRight(text, "\n"))
		if m == nil {
			continue
		}
		k, ok := byPath[section+m[2]]
		if !ok {
			continue // url, and what TestExample reports
		}
		_, name, _ := strings.Cut(k.path, "NAME.")
		if slices.Contains(presetKeys(), name) {
			if m[1] == "" && name != "port" {
				t.Errorf("%s is not commented out, so a copy of the example overrides every preset", k.path)
			}
			if shown := show(k.value); name != "port" && name != "tls" && name != "auth" && m[3] != shown {
				t.Errorf("the example shows %s = %s, the default is %s", k.path, m[3], shown)
			}
		} else if m[1] != "" && !k.value.IsZero() {
			t.Errorf("%s is commented out, but has the default %s", k.path, show(k.value))
		}
		words := regexp.MustCompile(`[a-z0-9._-]+`).FindAllString(m[4], -1)
		for _, word := range strings.Fields(k.tag.Get("oneof")) {
			if !slices.Contains(words, word) {
				t.Errorf("the comment of %s does not list %s", k.path, word)
			}
		}
	}
}

// TestOneClientLeavesMemory: a client at its limit of connections cannot use up the memory for contents.
func TestOneClientLeavesMemory(t *testing.T) {
	c := Default()
	each := max(c.Spool.InlineLimit, SMTPDHeaderPeek)
	if used := value.Size(c.SMTPD.MaxConnectionsPerClient) * each; used > c.SMTPD.MaxMemory {
		t.Errorf("one client can use %s of %s", used, c.SMTPD.MaxMemory)
	}
}
