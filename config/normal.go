package config

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// normalize rewrites the short forms of a layer into the keys that they stand for, so that a higher layer
// replaces what a lower one said whichever form each used.
func (l layer) normalize() (ms Mistakes) {
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
	for _, name := range l.upstreams() {
		ms = append(ms, l.expandURL(upstreamSection+"."+name+".")...)
		for _, secret := range []string{".password", ".oauth_client_secret", ".proxy_password"} {
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
func (l layer) expandURL(prefix string) (ms Mistakes) {
	s, ok := l[prefix+"url"]
	if !ok {
		return nil
	}
	delete(l, prefix+"url")
	text, _ := s.value.(string)
	values, bad := parseUpstreamURL(text)
	if bad != nil {
		return Mistakes{{Key: prefix + "url", Origin: s.origin, What: bad.what, Hint: bad.hint}}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if have, twice := l[prefix+name]; twice {
			if values[name] != "" {
				ms = append(ms, Mistake{prefix + name, have.origin, "is also set by the URL", "set it once"})
			}
			continue
		}
		l[prefix+name] = setting{values[name], s.origin}
	}
	return ms
}

// parseUpstreamURL reads smtp://user:password@host:port?tls=starttls. Its errors never repeat the URL,
// which may hold a password.
func parseUpstreamURL(s string) (map[string]string, *badValue) {
	const hint = `write "smtp://user@host:587?tls=starttls" or "smtps://user@host"; ` +
		`characters such as @ / ? # in a user name or password are written %40 %2F %3F %23`
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, &badValue{"is not an upstream URL", hint}
	}
	mode, bad := urlTLS(u)
	switch {
	case bad != nil:
		return nil, bad
	case u.Path != "" && u.Path != "/", u.Fragment != "":
		return nil, &badValue{"has something other than ?tls= after the host", hint}
	}
	values := map[string]string{"host": u.Hostname(), "port": u.Port(), "tls": mode,
		"username": u.User.Username(), "preset": "", "region": ""}
	if values["port"] == "" {
		values["port"] = "0"
	}
	if _, err := strconv.ParseUint(values["port"], 10, 16); err != nil {
		return nil, &badValue{"names port " + strconv.Quote(u.Port()), "ports are 1 to 65535"}
	}
	if password, ok := u.User.Password(); ok {
		values["password"] = password
	}
	return values, nil
}

// urlTLS is the TLS mode that a URL asks for; empty when it does not say.
func urlTLS(u *url.URL) (string, *badValue) {
	query := u.Query()
	mode := query.Get("tls")
	query.Del("tls")
	if len(query) > 0 {
		return "", &badValue{"has the parameter " + strconv.Quote(slices.Sorted(maps.Keys(query))[0]),
			"the only parameter is ?tls="}
	}
	switch {
	case mode != "" && !slices.Contains([]string{"none", "opportunistic", "starttls", "implicit"}, mode):
		return "", &badValue{"has tls=" + strconv.Quote(mode),
			"write none, opportunistic, starttls or implicit"}
	case u.Scheme == "smtp":
		return mode, nil
	case u.Scheme == "smtps" && (mode == "" || mode == "implicit"):
		return "implicit", nil
	case u.Scheme == "smtps":
		return "", &badValue{"is smtps:// with tls=" + strconv.Quote(mode),
			"smtps is implicit TLS; for STARTTLS write smtp://"}
	}
	return "", &badValue{"does not begin with smtp:// or smtps://",
		`write "smtp://host:25" or "smtps://user@host"`}
}

// settleSecret makes a secret and its _file form exclude each other: in one layer both are a mistake;
// across layers the higher one replaces the lower one, whichever form each has.
func (l layer) settleSecret(path string) Mistakes {
	value, inline := l[path]
	file, named := l[path+"_file"]
	switch {
	case inline && named && value.value != "" && file.value != "":
		return Mistakes{{path, value.origin, "is set, and " + path + "_file too", "keep one of them"}}
	case inline && !named:
		l[path+"_file"] = setting{"", value.origin}
	case named && !inline:
		l[path] = setting{"", file.origin}
	}
	return nil
}
