package config

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"mailwhy/config/mistake"
	"mailwhy/config/value"
	"mailwhy/relay/preset"
)

// noPreset is the value of preset that leaves every key at its default.
const noPreset = "none"

// presetKeys are the keys of an upstream that a preset can set, next to preset, host and region.
func presetKeys() []string {
	return []string{"port", "tls", "auth", "concurrency", "rate", "max_messages_per_connection",
		"max_recipients", "null_sender", "idle_timeout", "max_connection_age"}
}

// applyPresets adds what is known of the provider of each upstream, below everything that is configured: its
// preset, by name or by host, or the safe values for a host that is not known. Hosts of one's own network
// keep the defaults. It returns the paths of the keys that it set, with how sure their values are.
func (l layer) applyPresets() (map[string]preset.Source, mistake.List) {
	set, err := preset.Load()
	if err != nil {
		return nil, mistake.List{{Key: upstreamSection, What: "presets cannot be read: " + err.Error()}}
	}
	sources, ms := map[string]preset.Source{}, mistake.List{}
	for _, name := range l.upstreams() {
		f := filler{layer: l, prefix: upstreamSection + "." + name + ".", sources: sources}
		ms = append(ms, f.fill(set)...)
	}
	return sources, ms
}

// filler fills in the keys of one upstream.
type filler struct {
	layer
	prefix  string // of its paths
	from    string // where the values come from: "preset ses"
	sources map[string]preset.Source
}

// fill finds the preset and fills in its values.
func (f *filler) fill(set *preset.Set) mistake.List {
	if kind := f.text("type"); kind == typeSES || kind == typeGraph {
		f.api(kind)
		return nil
	}
	name, host := f.text("preset"), f.text("host")
	p := set.ByName(name)
	switch {
	case name == noPreset:
		return nil
	case name != "" && p == nil:
		return mistake.List{f.mistake("preset", fmt.Sprintf("there is no preset %q", name),
			"write "+noPreset+" or one of "+strings.Join(set.Names(), ", "))}
	case name == "":
		if p = set.ByHost(host); p == nil {
			f.unknown(host, &set.Safe)
			return nil
		}
		f.put("preset", setting{p.Name, "by host"}, "")
	}
	f.from = "preset " + p.Name
	if ms := f.host(p); ms != nil {
		return ms
	}
	f.port(p)
	f.auth(p)
	f.limits(&p.Limits)
	f.add("null_sender", p.NullSender.Source, string(p.NullSender.Value))
	return nil
}

// unknown fills in the safe values for a host on the Internet that belongs to no preset.
func (f *filler) unknown(host string, safe *preset.Limits) {
	if ownNetwork(host) {
		return
	}
	f.from = "unknown provider"
	f.limits(safe)
	f.add("null_sender", preset.SafeRow, string(preset.Refused))
}

// host fills in the host of a preset from the region, or the region from the host.
func (f *filler) host(p *preset.Preset) mistake.List {
	host, region := f.text("host"), f.text("region")
	if host == "" {
		usual, err := p.Host(map[string]string{"region": region})
		if err != nil {
			return mistake.List{f.mistake("region", "is not set, but preset "+p.Name+" needs it",
				`write region = "eu-central-1", or the host`)}
		}
		f.set("host", p.Hosts.Source, usual)
		return nil
	}
	in := p.Parts(host)["region"]
	switch {
	case in == "" || in == region:
	case region == "":
		f.put("region", setting{in, "by host"}, "")
	default:
		return mistake.List{f.mistake("region", fmt.Sprintf("is %q, but the host is in %s", region, in),
			"leave one of them out")}
	}
	return nil
}

// port fills in the port and the TLS mode. What the user sets of one decides the other.
func (f *filler) port(p *preset.Preset) {
	port, mode := fmt.Sprint(f.layer[f.prefix+"port"].value), f.text("tls")
	anyPort := port == "<nil>" || port == "0" || port == ""
	for _, known := range p.Ports.Value {
		implicit := known.Mode == preset.Implicit
		if !anyPort && port != fmt.Sprint(known.Number) || mode != "" && implicit != (mode == "implicit") {
			continue
		}
		if anyPort {
			f.set("port", p.Ports.Source, known.Number)
		}
		if mode == "" {
			f.set("tls", p.Ports.Source, string(known.Mode))
		}
		return
	}
}

// auth fills in the order of those mechanisms that mailwhy can use with what is configured: a password, or
// OAuth.
func (f *filler) auth(p *preset.Preset) {
	usable := passwordMechanisms()
	for path := range f.layer {
		if strings.HasPrefix(path, f.prefix+"oauth_") {
			usable = tokenMechanisms()
		}
	}
	var order []string
	for _, m := range p.Auth.Value {
		if m = strings.ToLower(m); slices.Contains(usable, m) {
			order = append(order, m)
		}
	}
	if len(order) > 0 {
		f.add("auth", p.Auth.Source, order)
	}
}

// limits fills in the limits. A provider may take more connections than the default; they are not opened.
func (f *filler) limits(l *preset.Limits) {
	if n := l.Connections; n.Value < DefaultUpstream().Concurrency {
		f.add("concurrency", n.Source, n.Value)
	}
	f.add("max_recipients", l.Recipients.Source, l.Recipients.Value)
	f.add("max_messages_per_connection", l.Messages.Source, l.Messages.Value)
	f.add("idle_timeout", l.Idle.Source, time.Duration(l.Idle.Value))
	if l.Age.Known() {
		f.add("max_connection_age", l.Age.Source, time.Duration(l.Age.Value))
	}
	if r := l.Rate; r.Known() {
		f.add("rate", r.Source, value.Rate{Messages: r.Value.Messages, Per: time.Duration(r.Value.Per)})
	}
}

// add sets a key that is not set.
func (f *filler) add(key string, s preset.Source, value any) {
	if _, configured := f.layer[f.prefix+key]; !configured {
		f.set(key, s, value)
	}
}

// set sets a key to a value of the preset.
func (f *filler) set(key string, s preset.Source, value any) {
	f.put(key, setting{value, f.from + ", " + s.Words()}, s)
}

func (f *filler) put(key string, value setting, s preset.Source) {
	f.layer[f.prefix+key] = value
	f.sources[f.prefix+key] = s
}

// text is the value of a key, if it is text.
func (f *filler) text(key string) string {
	s, _ := f.layer[f.prefix+key].value.(string)
	return s
}

func (f *filler) mistake(key, what, hint string) mistake.Mistake {
	return mistake.At(f.prefix+key, f.layer[f.prefix+key].origin, what, hint)
}

// ownNetwork reports whether a host is a server of one's own: a private address, a name without a dot as
// containers have, or a name that is never public (RFC 6761, RFC 6762, RFC 8375, and .internal of ICANN).
func ownNetwork(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(host, ".") || slices.ContainsFunc(
		[]string{".localhost", ".local", ".internal", ".home.arpa"},
		func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}

// awsSecret is the value of password_kind for a secret access key.
const awsSecret = "aws_secret"

// validateProvider checks what the provider of an upstream demands.
func (u *Upstream) validateProvider(path, hostname string, report reportFunc) {
	if p := presetNamed(u.Preset); p != nil && p.Hello.Value && !publicName(u.Hello) {
		report(path+".hello", fmt.Sprintf("is %q, but %s accepts only a public host name",
			cmp.Or(u.Hello, hostname), p.Title),
			`write a name such as "relay.example.com"`)
	}
	switch {
	case u.PasswordKind != awsSecret:
	case u.Region == "":
		report(path+".region", `is not set, but password_kind is "aws_secret"`,
			"the password is derived for one region; write that of the host")
	case !u.Password.IsZero() && isSESPassword(u.Password):
		report(path+".password_kind", `is "aws_secret", but the password is already an SMTP password`,
			"leave password_kind out")
	}
}

// Account says which account of which server an upstream logs in to. Upstreams with the same one share its
// connections and its rate. It is comparable and shows no secret.
type Account struct {
	host, tls string
	port      int
	login     [sha256.Size]byte
}

// AccountName names the account to the relays that share it: the server and the login, no secret. Relays that
// log in to nothing share what there is, for the server may see all of them behind one address.
func (u *Upstream) AccountName() string {
	login := u.Username
	if u.Type == typeSES {
		login = cmp.Or(u.RoleARN, u.AccessKeyID)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s:%d %s", u.Type, strings.ToLower(u.Host), u.Port, login))
}

// Account is the account of the upstream. Without credentials a server knows us by where we come from. A
// mailbox that is logged in to with OAuth is the account, whoever gets the token.
func (u *Upstream) Account() Account {
	login := []string{u.Username, u.Password.Reveal(), u.PasswordKind}
	switch {
	case u.Type == typeSES:
		login = []string{u.AccessKeyID, u.RoleARN, u.ContainerCredentialsURI}
	case u.HasOAuth():
		login = []string{u.Username, "oauth"}
	case !u.logsIn():
		login = append([]string{u.Proxy, u.Hello}, u.LocalAddr...)
	}
	if slices.Contains(u.Auth, "external") {
		login = append(login, u.CertFile)
	}
	return Account{strings.ToLower(u.Host), u.TLS, u.Port, sha256.Sum256(fmt.Appendf(nil, "%q", login))}
}

// accountFree are the keys in which upstreams of one account may differ: which mail they get, and what names
// where it goes.
func accountFree() []string {
	return []string{"preset", "region", "host", "domains", "weight", "daily_cap", "null_sender", "tag",
		"password", "password_file"}
}

// validateAccounts refuses upstreams of one account that differ in how it is used: they share the connections
// to it, so only one of two values could hold.
func (c *Config) validateAccounts(report reportFunc) {
	first := map[Account]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Upstream)) {
		u := c.Upstream[name]
		other, twice := first[u.Account()]
		if !twice {
			first[u.Account()] = name
			continue
		}
		theirs := map[string]string{}
		walk("", reflect.ValueOf(c.Upstream[other]).Elem(), func(k key) { theirs[k.path] = show(k.value) })
		walk("", reflect.ValueOf(u).Elem(), func(k key) {
			if slices.Contains(accountFree(), k.path) || show(k.value) == theirs[k.path] {
				return
			}
			report(upstreamSection+"."+name+"."+k.path,
				fmt.Sprintf("is %s, but %s.%s, which is the same account of the same server, has %s",
					show(k.value), upstreamSection, other, theirs[k.path]),
				"they share its connections and its rate: write the same in both")
		})
	}
}

// presetNamed is the preset of a name; nil where there is none.
func presetNamed(name string) *preset.Preset {
	set, err := preset.Load()
	if err != nil {
		return nil // applyPresets has reported it
	}
	return set.ByName(name)
}

// isSESPassword reports whether a secret has the form of an SMTP password of Amazon SES.
func isSESPassword(s value.Secret) bool {
	ses := presetNamed("ses")
	return ses != nil && len(ses.CheckCredentials("", s.Reveal())) == 0
}

// publicName reports whether a name in EHLO can be that of a public host.
func publicName(name string) bool {
	return strings.Contains(name, ".") && !ownNetwork(name) && !strings.HasSuffix(name, ".localdomain")
}

// warnProvider warns of credentials that are not such as the provider hands out, and of bounces that it
// refuses.
func (c *Config) warnProvider(path string, u *Upstream) {
	if p := presetNamed(u.Preset); p != nil {
		c.warnCredentials(path, u, p)
	}
	unsure := c.presets[path+".null_sender"] == preset.SafeRow
	byMail := c.DSN.Route != "maildir" && c.DSN.Route != "off"
	if u.NullSender == string(preset.Refused) && !unsure && byMail && c.DSN.FallbackSender == "" {
		c.Warnings = append(c.Warnings, path+" refuses the null sender, so no bounce can go through it; "+
			"set dsn.fallback_sender or another dsn.route")
	}
}

// warnCredentials compares the credentials with what the provider hands out.
func (c *Config) warnCredentials(path string, u *Upstream, p *preset.Preset) {
	password := u.Password.Reveal()
	if u.PasswordKind == awsSecret {
		password = "" // the key; the password is derived from it
	}
	for _, f := range p.CheckCredentials(u.Username, password) {
		c.Warnings = append(c.Warnings, path+"."+f.Key+": "+f.Text)
	}
}
