package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailwhy/config/value"
)

// reportFunc reports a mistake of one key, with an optional hint.
type reportFunc func(key, what, hint string)

// complete fills in what depends on the machine or on other settings, and reads the secrets.
func (c *Config) complete(env []string, report reportFunc) {
	hello := c.completeHostname()
	defer c.completeShutdown(env)
	if len(c.Listen) == 0 {
		c.Listen = []Listen{{Address: defaultAddress(env)}}
	}
	for i := range c.Listen {
		c.Listen[i].complete(&c.TLS, &c.Accept)
	}
	if len(c.Client) == 0 {
		c.Client = []Client{{Name: "local", Networks: loopback()}}
	}
	for i := range c.Client {
		c.Client[i].complete()
	}
	for i := range c.DKIM {
		c.DKIM[i].complete()
	}
	if c.Content.DefaultDomain == "" && strings.Contains(c.Hostname, ".") && !strings.HasPrefix(c.Hostname,
		"[") {
		c.Content.DefaultDomain = c.Hostname
	}
	if c.Spool.Dir == "" {
		c.Spool.Dir = stateDir(env, os.Geteuid())
	}
	if c.Spool.Dir != "" {
		setDefault(&c.Admin.Socket, filepath.Join(c.Spool.Dir, "admin.sock"))
		setDefault(&c.Admin.TokensFile, filepath.Join(c.Spool.Dir, "tokens.json"))
	}
	if c.DSN.From == "" && validHost(c.Hostname) {
		c.DSN.From = "postmaster@" + c.Hostname
	}
	c.completeCluster(report)
	c.completeRoutes()
	c.completePolicies()
	c.completeRewriting()
	c.completeSandbox(env, report)
	c.completeFeedback(report)
	c.completeWebhooks(report)
	c.completeMailboxes(report)
	for name, u := range c.Upstream {
		path := upstreamSection + "." + name
		u.completeAPI(env)
		if u.hasRefreshToken() && u.OAuthTokenFile == "" && c.Spool.Dir != "" {
			u.OAuthTokenFile = filepath.Join(c.Spool.Dir, "oauth-"+name+".json")
		}
		u.completeOAuth(env)
		u.completeAuth()
		u.complete(hello)
		for _, s := range u.secrets() {
			c.readSecret(path+s.key, s.text, s.file, report)
			if s.file == "" && !s.text.IsZero() {
				c.warnInline(path + s.key)
			}
		}
		c.warnProvider(path, u)
		if warning := u.expiryWarning(path, time.Now()); warning != "" {
			c.Warnings = append(c.Warnings, warning)
		}
		if warning := u.portWarning(path); warning != "" {
			c.Warnings = append(c.Warnings, warning)
		}
	}
}

// What Kubernetes needs to take a pod out of its services, and what it leaves of the 30 seconds after which
// it kills, with the default of shutdown_grace and a margin.
const (
	kubernetesDelay = 5 * time.Second
	kubernetesDrain = 15 * time.Second
)

// completeShutdown fills in how a relay stops in a pod. One that only its own pod can reach is behind no
// service, and need not wait for one.
func (c *Config) completeShutdown(env []string) {
	if lookup(env, "KUBERNETES_SERVICE_HOST") == "" {
		return
	}
	reached := func(l Listen) bool {
		host, _, err := net.SplitHostPort(l.Address)
		return err == nil && !isLoopback(host) && !strings.HasPrefix(l.Address, "unix:")
	}
	if c.origin("shutdown_delay") == "" && slices.ContainsFunc(c.Listen, reached) {
		c.ShutdownDelay = kubernetesDelay
	}
	if c.origin("shutdown_drain") == "" {
		c.ShutdownDrain = kubernetesDrain
	}
}

// secretFile is a secret that may stand in a file.
type secretFile struct {
	key  string
	text *value.Secret
	file string
}

// secrets are the secrets of an upstream.
func (u *Upstream) secrets() []secretFile {
	return []secretFile{{".password", &u.Password, u.PasswordFile},
		{".oauth_client_secret", &u.OAuthClientSecret, u.OAuthClientSecretFile},
		{".oauth_refresh_token", &u.OAuthRefreshToken, u.OAuthRefreshTokenFile},
		{".proxy_password", &u.ProxyPassword, u.ProxyPasswordFile},
		{".secret_access_key", &u.SecretAccessKey, u.SecretAccessKeyFile},
		{".container_token", &u.ContainerToken, u.ContainerTokenFile}}
}

// completeHostname fills in the machine's name, and returns the name for EHLO: none for one without a domain,
// and then it is the address (RFC 5321, 4.1.4).
func (c *Config) completeHostname() (hello string) {
	setDefault(&c.Hostname, machineName())
	if !qualified(c.Hostname) {
		return ""
	}
	return c.Hostname
}

// qualified reports whether a host name has a domain, or is an address.
func qualified(name string) bool { return strings.Contains(name, ".") || strings.HasPrefix(name, "[") }

// HostnameWarning warns of a host name that nobody can look up; "" where there is nothing to warn of.
func (c *Config) HostnameWarning() string {
	what := "hostname %q has no domain"
	switch {
	case qualified(c.Hostname):
		return ""
	case c.origin("hostname") != "":
	case containerID.MatchString(c.Hostname):
		what = "hostname is not set, and the machine's name %q is the id of a container"
	default:
		what = "hostname is not set, and the machine's name %q has no domain"
	}
	return fmt.Sprintf(what+": receivers of mail and of bounces distrust it; set hostname "+
		"(MAILWHY_HOSTNAME) to the relay's full name, such as relay.example.com", c.Hostname)
}

// containerID is the name that Docker and Podman give a container's host.
var containerID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// machineName is the host's own name.
func machineName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return strings.ToLower(name)
}

// defaultAddress is where mail is taken in: on loopback, which in a container only its own processes reach,
// so there on all addresses. Engines and our image set container, as systemd has it.
func defaultAddress(env []string) string {
	if lookup(env, "container") != "" {
		return ":2525"
	}
	return "127.0.0.1:2525"
}

// loopback returns the networks of the machine itself.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// complete fills in the defaults of a listener. With a certificate it offers STARTTLS.
func (l *Listen) complete(t *TLS, a *Accept) {
	if l.TLS == "" {
		l.TLS = "none"
		if t.CertFile != "" {
			l.TLS = "starttls"
		}
	}
	setDefault(&l.Role, "mail")
	setDefault(&l.Protocol, "smtp")
	if a.Mode == modeTry && l.Role != roleBounces {
		setDefault(&l.AcceptMode, modeTry)
	}
	setDefault(&l.AcceptMode, "queue")
	if l.TLSMinVersion == "" {
		l.TLSMinVersion = t.MinVersion
	}
	if l.Mode == 0 {
		l.Mode = 0o660
	}
}

// complete fills in the defaults of a client.
func (cl *Client) complete() {
	setDefault(&cl.AcceptMode, "listener")
	if cl.Auth == "" {
		cl.Auth = "tls"
		if cl.Lenient {
			cl.Auth = "clear"
		}
	}
}

// stateDir is the default spool directory: the one from systemd, else /var/lib/mailwhy for root, else one
// in the user's state directory; "" when the user has no home.
func stateDir(env []string, uid int) string {
	if dir := lookup(env, "STATE_DIRECTORY"); dir != "" {
		first, _, _ := strings.Cut(dir, ":")
		return first
	}
	if uid == 0 {
		return "/var/lib/mailwhy"
	}
	if dir := lookup(env, "XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mailwhy")
	}
	if home := lookup(env, "HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "mailwhy")
	}
	return ""
}

// lookup returns the value of a variable, "" when it is not set.
func lookup(env []string, name string) string {
	value := ""
	for _, pair := range env {
		if n, v, ok := strings.Cut(pair, "="); ok && n == name {
			value = v
		}
	}
	return value
}

// complete fills in what depends on the host name and on the credentials, which are sent under TLS (RFC
// 8314) to the submission port (RFC 6409).
func (u *Upstream) complete(hostname string) {
	if u.Hello == "" && validHost(hostname) {
		u.Hello = hostname
	}
	if u.TLS == "" {
		u.TLS = "opportunistic"
		if u.logsIn() {
			u.TLS = "starttls"
		}
		if u.Port == 465 {
			u.TLS = "implicit"
		}
	}
	if u.Port == 0 {
		switch {
		case u.TLS == "implicit":
			u.Port = 465 // RFC 8314, 7.3
		case u.logsIn():
			u.Port = 587
		default:
			u.Port = 25
		}
	}
}

// portWarning warns of a TLS mode that is unusual for the port (RFC 8314, 3.3); "" if it is not. It is not
// an error, since a provider may use any port.
func (u *Upstream) portWarning(path string) string {
	switch {
	case u.Port == 465 && u.TLS != "implicit":
		return fmt.Sprintf("%s.tls is %q, but port 465 usually speaks TLS from the first byte; "+
			`write tls = "implicit", or port = 587 for STARTTLS`, path, u.TLS)
	case (u.Port == 25 || u.Port == 587) && u.TLS == "implicit":
		return fmt.Sprintf("%s.tls is \"implicit\", but port %d usually starts without TLS; "+
			`write tls = "starttls", or port = 465 for implicit TLS`, path, u.Port)
	}
	return ""
}

// readSecret reads s from its file, without one newline at the end.
func (c *Config) readSecret(path string, s *value.Secret, file string, report reportFunc) {
	if file == "" {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		report(path+"_file", file+" "+fileProblem(err),
			"the file must hold only the secret and be readable by mailwhy")
		return
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if secret == "" {
		report(path+"_file", file+" is empty", "the file must hold only the secret")
		return
	}
	*s = value.NewSecret(secret)
	c.warnReadable(path+"_file", file)
}

// warnInline warns of a secret that others may see: on the command line, or in a configuration file that they
// may read.
func (c *Config) warnInline(path string) {
	switch origin := c.origin(path); {
	case strings.HasPrefix(origin, "--"):
		c.Warnings = append(c.Warnings,
			"the password in "+origin+" is shown by ps to everyone on this machine; use --password-file")
	case !strings.HasPrefix(origin, envPrefix):
		c.warnReadable(path, origin)
	}
}

// warnReadable warns of a file with a secret that others may read or change. It is not a mistake, because
// files that a container engine mounts are readable by everybody.
func (c *Config) warnReadable(key, file string) {
	info, err := os.Stat(file)
	if err != nil {
		return
	}
	switch perm := info.Mode().Perm(); {
	case perm&0o044 != 0:
		c.Warnings = append(c.Warnings, key+": "+file+" can be read by others on this machine; chmod 0600 it")
	case perm&0o022 != 0:
		c.Warnings = append(c.Warnings,
			key+": "+file+" can be changed by others on this machine; chmod 0600 it")
	}
}

// completeCluster reads the URLs. A shared spool is where relays agree too, unless they do so elsewhere.
func (c *Config) completeCluster(report reportFunc) {
	c.readSecret("spool.url", &c.Spool.URL, c.Spool.URLFile, report)
	c.readSecret("cluster.url", &c.Cluster.URL, c.Cluster.URLFile, report)
	if c.Spool.Shared() && c.Cluster.URL.IsZero() {
		c.Cluster.URL = c.Spool.URL
	}
}
