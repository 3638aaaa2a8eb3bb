package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/viper"

	"mailwhy/config/mistake"
)

// envPrefix is the prefix of all our environment variables.
const envPrefix = "MAILWHY_"

// envFile is the variable that names the configuration file.
const envFile = envPrefix + "CONFIG"

// setting is a value before it is decoded.
type setting struct {
	value  any
	origin string
}

// layer is what one source sets, by dotted path.
type layer map[string]setting

// fileLayer reads a TOML file.
func fileLayer(path string) (layer, mistake.List) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, mistake.List{{What: fileProblem(err), Origin: path,
			Hint: "name the configuration file with -c"}}
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, mistake.List{{What: "is not valid TOML: " + tomlProblem(err), Origin: path}}
	}
	ms := oddKeys("", tree, path)
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	v.SetConfigType("toml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return nil, append(ms, mistake.Mistake{What: "cannot be read: " + err.Error(), Origin: path})
	}
	l := layer{}
	settings := v.AllSettings()
	anchor("", settings, filepath.Dir(path))
	flatten(l, "", settings, path)
	return l, ms
}

// anchor makes the paths in a tree of tables absolute: relative ones are relative to the file that they stand
// in, wherever the relay is started.
func anchor(path string, node any, dir string) {
	switch n := node.(type) {
	case map[string]any:
		for name, v := range n {
			full := strings.TrimPrefix(path+"."+name, ".")
			if s, ok := v.(string); ok && namesFile(full) {
				n[name] = anchored(s, dir)
			} else {
				anchor(full, v, dir)
			}
		}
	case []any:
		for _, e := range n {
			anchor(path, e, dir)
		}
	}
}

// namesFile reports whether a setting is a path.
func namesFile(path string) bool {
	switch path {
	case "spool.dir", "sandbox.dir", "delivery_log.file", "admin.socket", "dsn.maildir",
		"feedback.mailbox.maildir":
		return true
	}
	return strings.HasSuffix(path, "_file")
}

// anchored is a path as it is meant in a file in dir. "-" is standard output.
func anchored(path, dir string) string {
	if path == "" || path == "-" || filepath.IsAbs(path) {
		return path
	}
	if whole, err := filepath.Abs(filepath.Join(dir, path)); err == nil {
		return whole
	}
	return path
}

// fileProblem is a file system error without the path, which the message already contains.
func fileProblem(err error) string {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return "cannot be read: " + pe.Err.Error()
	}
	return "cannot be read: " + err.Error()
}

// tomlProblem is a syntax error with its position but without the line, which may contain a secret.
func tomlProblem(err error) string {
	if de, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := de.Position()
		return fmt.Sprintf("line %d, column %d: %s", row, column, strings.TrimPrefix(de.Error(), "toml: "))
	}
	return err.Error()
}

// oddKeys finds keys that viper would confuse with others: it ignores case, and it would read a name with a
// dot as two names.
func oddKeys(path string, node any, origin string) (ms mistake.List) {
	switch n := node.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(n)) {
			full := strings.TrimPrefix(path+"."+name, ".")
			if low := strings.ToLower(name); low != name {
				ms = append(ms,
					mistake.At(full, origin, "contains capital letters", fmt.Sprintf("write %q", low)))
			}
			if strings.Contains(name, ".") || strings.Contains(name, delimiter) {
				ms = append(ms,
					mistake.At(full, origin, fmt.Sprintf("the name %q contains a dot or colon", name),
						"use letters, digits, - and _"))
			}
			ms = append(ms, oddKeys(full, n[name], origin)...)
		}
	case []any:
		for i, e := range n {
			ms = append(ms, oddKeys(fmt.Sprintf("%s[%d]", path, i), e, origin)...)
		}
	}
	return ms
}

// flatten adds the values of a tree of tables to l.
func flatten(l layer, path string, tree map[string]any, origin string) {
	for name, v := range tree {
		full := strings.TrimPrefix(path+"."+name, ".")
		if sub, ok := v.(map[string]any); ok {
			flatten(l, full, sub, origin)
			continue
		}
		l[full] = setting{v, origin}
	}
}

// envLayer reads the variables with our prefix. An empty one counts as not set.
func envLayer(env []string, upstreams []string) (layer, mistake.List) {
	known, ms := envNames(upstreams)
	l := layer{}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envFile || name == dropInSwitch ||
			serviceLink(name, value) {
			continue
		}
		path, ok := known[name]
		if !ok {
			ms = append(ms, mistake.Mistake{Origin: name, What: "unknown setting",
				Hint: nearest(name, slices.Collect(maps.Keys(known)))})
			continue
		}
		if value != "" {
			l[path] = setting{value, name}
		}
	}
	return l, ms
}

// serviceLink reports whether Kubernetes or Docker made the variable for a service whose name begins with
// "mailwhy".
func serviceLink(name, value string) bool {
	if strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://") ||
		strings.HasPrefix(value, "sctp://") {
		return regexp.MustCompile(`_PORT(_\d+_(TCP|UDP|SCTP))?$`).MatchString(name)
	}
	return regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$` +
		`|_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$` +
		`|^MAILWHY_(\w+_)?ENV_|^MAILWHY_(\w+_)?NAME$`).MatchString(name)
}

// envNames maps the variables to the paths that they set. Those of the default upstream need not name it.
func envNames(upstreams []string) (map[string]string, mistake.List) {
	var ms mistake.List
	known := map[string]string{
		envPrefix + "UPSTREAM": upstreamSection + "." + defaultUpstream + ".url",
	}
	add := func(name, path string) {
		if other, clash := known[name]; clash && other != path {
			ms = append(ms, mistake.At(path, "", "shares the variable "+name+" with "+other,
				"give the upstream another name"))
			return
		}
		known[name] = path
	}
	for _, k := range keys(withUpstreams(append(slices.Clone(upstreams), defaultUpstream))) {
		name := envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(k.path))
		if short, ok := strings.CutPrefix(k.path, upstreamSection+"."+defaultUpstream+"."); ok {
			add(envPrefix+"UPSTREAM_"+strings.ToUpper(short), k.path)
		}
		add(name, k.path)
	}
	return known, ms
}

// flagLayer takes the flags that were given.
func flagLayer(flags []Flag) layer {
	l := layer{}
	for _, f := range flags {
		l[f.Key] = setting{f.Value, f.Name}
	}
	return l
}

// normalize rewrites the short forms of a layer into the keys that they stand for, so that a higher layer
// replaces what a lower one said whichever form each used.
func (l layer) normalize() (ms mistake.List) {
	if s, ok := l["listen"].value.(string); ok {
		l["listen"] = setting{[]any{map[string]any{"address": s}}, l["listen"].origin}
	}
	if s, ok := l["client"].value.(string); ok {
		l["client"] = setting{[]any{map[string]any{"name": "allowed", "networks": s}}, l["client"].origin}
	}
	if s, ok := l[upstreamSection]; ok {
		delete(l, upstreamSection)
		l[upstreamSection+"."+defaultUpstream+".url"] = s
	}
	ms = append(ms, l.settleSecret("access.users")...)
	for _, name := range l.upstreams() {
		ms = append(ms, l.expandURL(upstreamSection+"."+name+".")...)
		for _, secret := range []string{".password", ".oauth_client_secret", ".proxy_password",
			".secret_access_key", ".container_token", ".oauth_refresh_token"} {
			ms = append(ms, l.settleSecret(upstreamSection+"."+name+secret)...)
		}
	}
	return ms
}

// upstreams returns the names of the upstreams for which l sets something.
func (l layer) upstreams() []string {
	names := map[string]bool{}
	for path := range l {
		if parts := strings.SplitN(path, ".", 3); len(parts) == 3 && parts[0] == upstreamSection {
			names[parts[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// expandURL replaces the url of one upstream by the keys that it stands for. A URL describes the whole next
// hop: what it leaves out is reset, so that it never mixes with a lower layer. Only the password may come
// from elsewhere.
func (l layer) expandURL(prefix string) (ms mistake.List) {
	s, ok := l[prefix+"url"]
	if !ok {
		return nil
	}
	delete(l, prefix+"url")
	text, _ := s.value.(string)
	values, bad := parseUpstreamURL(text)
	if bad != nil {
		return mistake.List{{Key: prefix + "url", Origin: s.origin, What: bad.What, Hint: bad.Hint}}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if have, twice := l[prefix+name]; twice {
			if values[name] != "" {
				ms = append(ms,
					mistake.At(prefix+name, have.origin, "is also set by the URL", "set it once"))
			}
			continue
		}
		l[prefix+name] = setting{values[name], s.origin}
	}
	return ms
}

// parseUpstreamURL reads smtp://user:password@host:port?tls=starttls. Its errors never repeat the URL,
// which may hold a password.
func parseUpstreamURL(s string) (map[string]string, *mistake.Value) {
	const hint = `write "smtp://user@host:587?tls=starttls" or "smtps://user@host"; ` +
		`characters such as @ / ? # in a user name or password are written %40 %2F %3F %23`
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, mistake.Bad("is not an upstream URL", hint)
	}
	mode, bad := urlTLS(u)
	switch {
	case bad != nil:
		return nil, bad
	case u.Path != "" && u.Path != "/", u.Fragment != "":
		return nil, mistake.Bad("has something other than ?tls= after the host", hint)
	}
	values := map[string]string{"host": u.Hostname(), "port": u.Port(), "tls": mode,
		"username": u.User.Username(), "preset": "", "region": ""}
	if values["port"] == "" {
		values["port"] = "0"
	}
	if _, err := strconv.ParseUint(values["port"], 10, 16); err != nil {
		return nil, mistake.Bad("names port "+strconv.Quote(u.Port()), "ports are 1 to 65535")
	}
	if password, ok := u.User.Password(); ok {
		values["password"] = password
	}
	return values, nil
}

// urlTLS is the TLS mode that a URL asks for; empty when it does not say.
func urlTLS(u *url.URL) (string, *mistake.Value) {
	query := u.Query()
	mode := query.Get("tls")
	query.Del("tls")
	if len(query) > 0 {
		return "", mistake.Bad("has the parameter "+strconv.Quote(slices.Sorted(maps.Keys(query))[0]),
			"the only parameter is ?tls=")
	}
	switch {
	case mode != "" && !slices.Contains([]string{"none", "opportunistic", "starttls", "implicit"}, mode):
		return "", mistake.Bad("has tls="+strconv.Quote(mode),
			"write none, opportunistic, starttls or implicit")
	case u.Scheme == "smtp":
		return mode, nil
	case u.Scheme == "smtps" && (mode == "" || mode == "implicit"):
		return "implicit", nil
	case u.Scheme == "smtps":
		return "", mistake.Bad("is smtps:// with tls="+strconv.Quote(mode),
			"smtps is implicit TLS; for STARTTLS write smtp://")
	}
	return "", mistake.Bad("does not begin with smtp:// or smtps://",
		`write "smtp://host:25" or "smtps://user@host"`)
}

// settleSecret makes a secret and its _file form exclude each other: in one layer both are a mistake;
// across layers the higher one replaces the lower one, whichever form each has.
func (l layer) settleSecret(path string) mistake.List {
	value, inline := l[path]
	file, named := l[path+"_file"]
	switch {
	case inline && named && value.value != "" && file.value != "":
		return mistake.List{
			mistake.At(path, value.origin, "is set, and "+path+"_file too", "keep one of them"),
		}
	case inline && !named:
		l[path+"_file"] = setting{"", value.origin}
	case named && !inline:
		l[path] = setting{"", file.origin}
	}
	return nil
}
