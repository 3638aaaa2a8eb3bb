// Package dropin reads the environment variables of the image boky/postfix, so that mailwhy can take its
// place with nothing changed but the image.
//
// Read is a function of the environment and the files that it names: it returns settings of relay.toml, with
// the variable that each comes from, and a Note for every variable, which says what it became, or why it has
// no counterpart here, or why it is refused. No variable is passed over in silence, and no note holds a
// secret. Package config puts the settings below everything that is configured in our own words.
//
// Where Postfix is less strict than mailwhy, safety wins and the note says so: a password goes to a host on
// the Internet under verified TLS only.
package dropin

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"mailwhy/config/mistake"
)

// Input is what Read looks at. All of it is required.
type Input struct {
	Env   []string // as os.Environ returns it
	Files fs.FS    // the file system from its root
	// OwnNetwork reports whether a host is a server of one's own rather than one on the Internet.
	OwnNetwork func(host string) bool
}

// Setting is the value of one key of relay.toml.
type Setting struct {
	Path  string // dotted: "upstream.default.host"
	Value any    // as the environment or TOML would give it
	From  string // the variable
}

// Result is what the variables mean.
type Result struct {
	Settings []Setting
	Notes    []Note
	Mistakes mistake.List // what is so wrong that no relay can start
}

// Outcome is what became of a variable.
type Outcome string

// The outcomes.
const (
	Became     Outcome = "became"                     // a setting, which Text names with its value
	None       Outcome = "has no counterpart because" // and nothing is lost by that, or Text says what to do
	Refused    Outcome = "is refused because"         // it would have to be obeyed, and cannot be
	Overridden Outcome = "is overridden by"           // a setting of ours, which Text names
)

// Note says what became of a variable.
type Note struct {
	Variable string
	Outcome  Outcome
	Text     string
	Path     string // of the setting that it became; else ""
}

// String is the note as a sentence.
func (n Note) String() string { return fmt.Sprintf("%s %s %s", n.Variable, n.Outcome, n.Text) }

// Wanted reports whether an environment is one for boky/postfix that relays to a host.
func Wanted(env []string) bool {
	r := newReading(Input{Env: env})
	return r.get("RELAYHOST") != "" || r.get("POSTFIX_relayhost") != ""
}

// Delivers reports whether an environment is one for boky/postfix that delivers mail itself, to the servers
// of its recipients, which mailwhy never does.
func Delivers(env []string) bool {
	r := newReading(Input{Env: env})
	return !Wanted(env) && r.get("ALLOWED_SENDER_DOMAINS")+r.get("ALLOW_EMPTY_SENDER_DOMAINS") != ""
}

// Read reads the variables.
func Read(in Input) Result {
	r := newReading(in)
	r.renameOld()
	r.relayhost()
	r.front()
	r.masquerade()
	r.headerChecks()
	r.logs()
	r.dkim()
	r.parameters()
	r.others()
	r.directories()
	r.put("listen", []any{r.listener}, "boky/postfix")
	r.note("port 587", Became, "listen.address = :587, as there", "listen")
	r.put("client", []any{r.client}, "boky/postfix")
	if len(r.rewrites) > 0 {
		r.put("rewrite", r.rewrites, "boky/postfix")
	}
	return r.Result
}

// reading is a Read that is under way.
type reading struct {
	Result
	in       Input
	env      map[string]string
	seen     map[string]bool // variables that have a note, or need none
	listener map[string]any
	client   map[string]any
	rewrites []any
}

func newReading(in Input) *reading {
	r := &reading{in: in, env: map[string]string{}, seen: map[string]bool{},
		listener: map[string]any{"address": ":587"}, client: map[string]any{"name": "mynetworks"}}
	for _, pair := range in.Env {
		if name, value, ok := strings.Cut(pair, "="); ok && !serviceLink(name, value) {
			r.env[name] = value
		}
	}
	return r
}

// serviceLink reports whether Kubernetes or Docker made a variable for a service whose name begins with one
// of the prefixes that are looked at, as boky/postfix does for POSTFIX_MAIL_....
func serviceLink(name, value string) bool {
	return strings.Contains(value, "://") && strings.Contains(name, "_PORT") ||
		regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$`+
			`|^POSTFIX_MAIL(_[A-Z0-9]+)+$`).MatchString(name)
}

// get is the value of a variable; "" if it is not set.
func (r *reading) get(name string) string { return strings.TrimSpace(r.env[name]) }

// use is get for a variable that is being read: it needs no other note than the caller's.
func (r *reading) use(name string) string {
	r.seen[name] = true
	return r.get(name)
}

// put adds a setting.
func (r *reading) put(path string, value any, from string) {
	r.Settings = append(r.Settings, Setting{path, value, from})
}

// note adds a note.
func (r *reading) note(variable string, o Outcome, text, path string) {
	r.seen[variable] = true
	r.Notes = append(r.Notes, Note{variable, o, text, path})
}

// became adds a setting that a variable became.
func (r *reading) became(variable, path string, value any) {
	r.put(path, value, variable)
	r.note(variable, Became, fmt.Sprintf("%s = %v", path, value), path)
}

// becameSecret is became for a value that is not shown.
func (r *reading) becameSecret(variable, path, value string) {
	r.put(path, value, variable)
	r.note(variable, Became, path, path)
}

func (r *reading) none(variable, why string)    { r.note(variable, None, why, "") }
func (r *reading) refused(variable, why string) { r.note(variable, Refused, why, "") }

// secret makes a setting of the variable NAME, or a setting with _file of NAME_FILE.
func (r *reading) secret(name, path string) {
	if v := r.use(name); v != "" {
		r.becameSecret(name, path, v)
	}
	if file := r.use(name + "_FILE"); file != "" {
		r.became(name+"_FILE", path+"_file", file)
	}
}

// text is the value of the variable NAME, or the content of the file that NAME_FILE names, with the name of
// the variable.
func (r *reading) text(name string) (text, variable string) {
	text, variable = r.use(name), name
	if file := r.use(name + "_FILE"); file != "" {
		variable = name + "_FILE"
		b, err := fs.ReadFile(r.in.Files, strings.TrimPrefix(file, "/"))
		if err != nil {
			r.Mistakes = append(r.Mistakes, mistake.At("", variable, file+" cannot be read",
				"the file must be readable by mailwhy"))
		}
		text = strings.TrimSpace(string(b))
	}
	return text, variable
}

// renameOld gives variables of old versions of boky/postfix the names that they have now, and parameters of
// Postfix those that the image has for them. There the former win where both are set.
func (r *reading) renameOld() {
	for _, name := range [][2]string{
		{"RELAYHOST_TLS_LEVEL", "POSTFIX_smtp_tls_security_level"},
		{"MYNETWORKS", "POSTFIX_mynetworks"},
		{"MESSAGE_SIZE_LIMIT", "POSTFIX_message_size_limit"},
		{"POSTFIX_relayhost", "RELAYHOST"},
		{"POSTFIX_masquerade_domains", "MASQUERADED_DOMAINS"},
		{"POSTFIX_smtp_header_checks", "SMTP_HEADER_CHECKS"},
	} {
		if v := r.use(name[0]); v != "" {
			r.env[name[1]] = v
			r.note(name[0], Became, name[1], "")
		}
	}
}

// others notes every variable of boky/postfix that nothing else did.
func (r *reading) others() {
	for _, name := range slices.Sorted(maps.Keys(withoutCounterpart())) {
		if r.get(name) != "" && !r.seen[name] {
			r.none(name, withoutCounterpart()[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.env)) {
		if (strings.HasPrefix(name, "OPENDKIM_") || strings.HasPrefix(name, "RSPAMD_")) && !r.seen[name] {
			r.none(name, "mailwhy signs by itself: [[dkim]] has its settings")
		}
	}
	if tz := r.use("TZ"); tz != "" {
		r.note("TZ", Became, "the time zone of Date and Received fields, "+tz+"; the delivery log is in UTC",
			"")
	}
}

// directories notes what is mounted for boky/postfix and not used here.
func (r *reading) directories() {
	for _, dir := range []struct{ path, why string }{
		{"var/spool/postfix", "mail waits in spool.dir, which is /spool in the image: mount a volume there"},
		{"docker-init.d", "scripts are not run"},
		{"docker-init.db", "scripts are not run"},
	} {
		if _, err := fs.Stat(r.in.Files, dir.path); err == nil {
			r.none("/"+dir.path, dir.why)
		}
	}
}

// withoutCounterpart are the variables of the image that need none, with the reason.
func withoutCounterpart() map[string]string {
	return map[string]string{
		"AUTOSET_HOSTNAME":          "mailwhy asks nobody for its address: set POSTFIX_myhostname",
		"AUTOSET_HOSTNAME_SERVICES": "mailwhy asks nobody for its address: set POSTFIX_myhostname",
		"INBOUND_DEBUGGING":         "the log says why mail is refused; MAILWHY_LOG_LEVEL=debug has more",
		"FORCE_COLOR":               "the log has no colors",
		"SKIP_ROOT_SPOOL_CHOWN":     "mailwhy changes no owners",
		"DKIM_BACKEND":              "mailwhy signs by itself",
		"XOAUTH2_SYSLOG_ON_FAILURE": "a failed login is always logged",
		"XOAUTH2_FULL_TRACE":        "a failed login is always logged, without the token",
	}
}
