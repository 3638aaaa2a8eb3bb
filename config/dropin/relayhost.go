package dropin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mailwhy/config/mistake"
)

// upstream is the path of the upstream that RELAYHOST becomes.
const upstream = "upstream.default."

// relayhost reads where mail goes to, and with which credentials.
func (r *reading) relayhost() {
	value := r.use("RELAYHOST")
	if value == "" {
		for _, name := range []string{"RELAYHOST_USERNAME", "RELAYHOST_PASSWORD", "RELAYHOST_PASSWORD_FILE",
			"SASL_RELAYHOST", "XOAUTH2_CLIENT_ID", "XOAUTH2_SECRET"} {
			if r.use(name) != "" {
				r.none(name, "there is no RELAYHOST")
			}
		}
		return
	}
	host, port, err := parseRelayhost(value)
	if err != nil {
		r.Mistakes = append(r.Mistakes, mistake.At("", "RELAYHOST", err.Error(),
			`write "smtp.example.com", "[smtp.example.com]:587" or "[2001:db8::1]:25"`))
		return
	}
	first := len(r.Notes)
	login := r.credentials()
	mode, clear := r.tls(host, port, login)
	r.put(upstream+"host", host, "RELAYHOST")
	r.put(upstream+"port", port, "RELAYHOST")
	r.put(upstream+"tls", mode, "RELAYHOST")
	r.put(upstream+"allow_plaintext_auth", clear, "RELAYHOST")
	text := fmt.Sprintf("%shost = %s, port = %d, tls = %s", upstream, host, port, mode)
	if _, isAddr := netip.ParseAddr(host); isAddr != nil && !strings.HasPrefix(value, "[") {
		text += "; the host itself, without a look at its MX records"
	}
	if clear {
		text += "; the password may go without TLS"
	}
	r.Notes = slices.Insert(r.Notes, first, Note{"RELAYHOST", Became, text, upstream + "host"})
	if r.use("SASL_RELAYHOST") != "" {
		r.none("SASL_RELAYHOST", "the credentials always are those of the upstream")
	}
}

// parseRelayhost reads the next hop as Postfix writes it.
func parseRelayhost(s string) (host string, port int, err error) {
	host, service, port := s, "", 25
	inner, bracketed := strings.CutPrefix(s, "[")
	switch {
	case strings.Contains(s, "@"): // perhaps with a password, which is not to be in an error
		return "", 0, errors.New("has an @ in it; the login goes into RELAYHOST_USERNAME and " +
			"RELAYHOST_PASSWORD")
	case strings.ContainsAny(s, ", \t"):
		return "", 0, errors.New("names several hosts; each is an upstream of mailwhy, and a route has them")
	case bracketed:
		rest, closed := "", false
		if host, rest, closed = strings.Cut(inner, "]"); !closed || rest != "" && rest[0] != ':' {
			return "", 0, fmt.Errorf("%q is not a host", s)
		}
		service = strings.TrimPrefix(rest, ":")
	case strings.Count(s, ":") == 1:
		host, service, _ = strings.Cut(s, ":")
	}
	if len(host) > 5 && strings.EqualFold(host[:5], "ipv6:") {
		host = host[5:]
	}
	if _, err := netip.ParseAddr(host); err != nil && !validHost(host) {
		return "", 0, fmt.Errorf("%q is not a host", s)
	}
	if service == "" {
		return host, port, nil
	}
	if port, err = portOf(service); err != nil {
		err = fmt.Errorf("%q is not a host and a port: %w", s, err)
	}
	return host, port, err
}

// portOf reads a port or the name of its service.
func portOf(s string) (int, error) {
	switch s {
	case "smtp":
		return 25, nil
	case "submission":
		return 587, nil
	case "smtps", "submissions":
		return 465, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port", s)
	}
	return int(n), nil
}

// credentials reads the login, and reports whether there is one.
func (r *reading) credentials() bool {
	static, isStatic := strings.CutPrefix(r.get("POSTFIX_smtp_sasl_password_maps"), "static:")
	if isStatic && r.get("RELAYHOST_USERNAME") == "" {
		const variable = "POSTFIX_smtp_sasl_password_maps"
		user, password, _ := strings.Cut(static, ":")
		r.put(upstream+"username", user, variable)
		r.becameSecret(variable, upstream+"password", password)
		return true
	}
	user := r.use("RELAYHOST_USERNAME")
	byToken := r.oauth()
	if !byToken {
		r.secret("RELAYHOST_PASSWORD", upstream+"password")
	}
	password := r.get("RELAYHOST_PASSWORD") + r.get("RELAYHOST_PASSWORD_FILE")
	switch {
	case user == "":
		return false
	case password == "" && !byToken:
		r.none("RELAYHOST_USERNAME", "there is no RELAYHOST_PASSWORD, so there is no login")
		return false
	}
	r.became("RELAYHOST_USERNAME", upstream+"username", user)
	return true
}

// tls is the TLS mode, and whether a password may go without TLS.
func (r *reading) tls(host string, port int, login bool) (mode string, clear bool) {
	const variable = "POSTFIX_smtp_tls_security_level"
	level := r.use(variable)
	wrapped := isYes(r.use("POSTFIX_smtp_tls_wrappermode"))
	mode, clear = modeOf(level, login, r.in.OwnNetwork(host))
	if port == 465 || wrapped {
		mode, clear = "implicit", false
	}
	if wrapped {
		r.note("POSTFIX_smtp_tls_wrappermode", Became, upstream+"tls = implicit", upstream+"tls")
	}
	text := upstream + "tls = " + mode
	switch {
	case level == "":
		return mode, clear
	case !slices.Contains([]string{"none", "may", "encrypt", "verify", "secure"}, level):
		r.refused(variable, fmt.Sprintf("mailwhy has no level %s; %s is used, which verifies the "+
			"certificate by its authority", level, text))
		return mode, clear
	case level == "encrypt" && mode == "starttls":
		text += ", which verifies the certificate too; MAILWHY_UPSTREAM_FINGERPRINT accepts one by its hash"
	case level == "may" && mode == "starttls":
		text += ", since a password is sent to a host on the Internet under verified TLS only"
	}
	r.note(variable, Became, text, upstream+"tls")
	return mode, clear
}

// modeOf is the TLS mode for a level of Postfix, and whether a password may go without TLS.
func modeOf(level string, login, own bool) (mode string, clear bool) {
	switch {
	case level == "none":
		return "none", login
	case level != "may" && level != "", login && !own:
		return "starttls", false
	}
	return "opportunistic", login
}

// isYes reports whether a boolean of Postfix is on.
func isYes(s string) bool { return strings.EqualFold(s, "yes") }

// oauth reads the login by access tokens, and reports whether there is one.
func (r *reading) oauth() bool {
	id, variable := r.text("XOAUTH2_CLIENT_ID")
	if id == "" && r.get("XOAUTH2_SECRET")+r.get("XOAUTH2_SECRET_FILE") == "" {
		return false
	}
	if id != "" {
		r.became(variable, upstream+"oauth_client_id", id)
	}
	r.secret("XOAUTH2_SECRET", upstream+"oauth_client_secret")
	r.secret("XOAUTH2_INITIAL_REFRESH_TOKEN", upstream+"oauth_refresh_token")
	r.put(upstream+"oauth_grant", "refresh_token", variable)
	for _, name := range []string{"XOAUTH2_INITIAL_ACCESS_TOKEN", "XOAUTH2_INITIAL_ACCESS_TOKEN_FILE"} {
		if r.use(name) != "" {
			r.none(name, "mailwhy gets a new one with the refresh token")
		}
	}
	for _, name := range []string{"RELAYHOST_PASSWORD", "RELAYHOST_PASSWORD_FILE"} {
		if r.use(name) != "" {
			r.none(name, "the login is by XOAUTH2, as there")
		}
	}
	if url := r.use("XOAUTH2_TOKEN_ENDPOINT"); url != "" {
		r.became("XOAUTH2_TOKEN_ENDPOINT", upstream+"oauth_token_url", url)
	} else {
		r.put(upstream+"oauth_provider", "google", variable)
	}
	return true
}
