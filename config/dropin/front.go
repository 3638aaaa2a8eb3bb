package dropin

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"mailwhy/config/mistake"
)

// validHost reports whether s is a host name.
func validHost(s string) bool {
	return regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*` +
		`[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`).MatchString(s)
}

// front reads who may send what.
func (r *reading) front() {
	if name := r.use("POSTFIX_myhostname"); name != "" {
		r.became("POSTFIX_myhostname", "hostname", name)
	}
	r.size()
	r.networks()
	r.senders()
	r.users()
}

// size reads the largest message. There 0 stands for no limit.
func (r *reading) size() {
	const variable, path = "POSTFIX_message_size_limit", "smtpd.max_message_size"
	switch v := r.use(variable); {
	case v == "":
	case v == "0":
		r.became(variable, path, "2GB")
	default:
		r.became(variable, path, v)
	}
}

// privateNetworks are those that boky/postfix trusts, and the IPv6 address of the machine itself.
func privateNetworks() []any {
	return []any{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}
}

// networks reads whose mail is taken.
func (r *reading) networks() {
	const variable = "POSTFIX_mynetworks"
	r.client["networks"] = privateNetworks()
	text := r.use(variable)
	if text == "" {
		return
	}
	var list []any
	for _, word := range splitList(text) {
		n, err := netip.ParsePrefix(strings.NewReplacer("[", "", "]", "").Replace(word))
		if a, errAddr := netip.ParseAddr(strings.Trim(word, "[]")); errAddr == nil {
			n, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			r.refused(variable, fmt.Sprintf("%q is not a network; the others are used", word))
			continue
		}
		list = append(list, n.String())
	}
	if len(list) == 0 {
		r.Mistakes = append(r.Mistakes, mistake.At("", variable, strconv.Quote(text)+" names no network",
			`write networks, as in "10.0.0.0/8, 192.168.0.0/16"; files are not read`))
		return
	}
	r.client["networks"] = list
	r.note(variable, Became, fmt.Sprintf("client.networks = %v", list), "client")
}

// splitList splits a list of Postfix: by commas and blanks.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' })
}

// senders reads which senders the networks may use. As in Postfix a domain stands for its subdomains too.
func (r *reading) senders() {
	const variable = "ALLOWED_SENDER_DOMAINS"
	var list []any
	for _, word := range strings.Fields(r.use(variable)) {
		if strings.Contains(word, "@") {
			list = append(list, word)
			continue
		}
		domain := strings.TrimPrefix(word, ".")
		list = append(list, "@"+domain, "@."+domain)
	}
	if len(list) > 0 {
		r.client["senders"] = list
		r.note(variable, Became, fmt.Sprintf("client.senders = %v", list), "client")
	}
	if r.use("ALLOW_EMPTY_SENDER_DOMAINS") != "" {
		r.note("ALLOW_EMPTY_SENDER_DOMAINS", Became, "client.senders = [], if no domains are given", "client")
	}
}

// users reads who may authenticate. Without a certificate the networks can do so in clear, as there.
func (r *reading) users() {
	const variable = "SMTPD_SASL_USERS"
	var lines []string
	names := map[string]bool{}
	for _, pair := range strings.Split(r.use(variable), ",") {
		name, password, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if pair == "" {
			continue
		}
		// The password stands in the environment, so a slow hash would protect nothing.
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		bad := name == "" || names[name] || strings.ContainsAny(name, " \t#")
		if !ok || bad || password == "" || err != nil {
			r.refused(variable, fmt.Sprintf("the entry of user %q is not name:password with at most 72 "+
				"bytes, or is there twice; the others are used", name))
			continue
		}
		for _, full := range r.logins(name) {
			if names[full] { // which stands there in full, with a password of its own
				continue
			}
			names[full] = true
			lines = append(lines, full+":"+string(hash))
		}
	}
	if len(lines) == 0 {
		return
	}
	r.put("access.users", strings.Join(lines, " "), variable)
	if !isYes(r.get("POSTFIX_smtpd_tls_auth_only")) {
		r.client["auth"] = "clear"
	}
	r.note(variable, Became, fmt.Sprintf("access.users, %d names", len(lines)), "access.users")
}

// logins are the names that a user can log in with: there one without a domain belongs to that of the host.
func (r *reading) logins(name string) []string {
	_, domain, ok := strings.Cut(r.get("POSTFIX_myhostname"), ".")
	if strings.Contains(name, "@") || !ok {
		return []string{name}
	}
	return []string{name, name + "@" + domain}
}

// logs reads what the logs look like.
func (r *reading) logs() {
	switch format := r.use("LOG_FORMAT"); format {
	case "":
	case "plain", "json":
		words := map[string]string{"plain": "text", "json": "json"}
		r.put("log.format", words[format], "LOG_FORMAT")
		r.put("delivery_log.format", words[format], "LOG_FORMAT")
		r.note("LOG_FORMAT", Became, "log.format and delivery_log.format = "+words[format], "log.format")
	default:
		r.refused("LOG_FORMAT", strconv.Quote(format)+" is neither plain nor json")
	}
	r.anonymize()
}

// anonymize reads what is left of addresses in the logs.
func (r *reading) anonymize() {
	const variable, path = "ANONYMIZE_EMAILS", "log.addresses"
	value := r.use(variable)
	filter, options, _ := strings.Cut(value, "?")
	switch filter {
	case "":
	case "0", "noop":
		r.became(variable, path, "full")
	case "1", "on", "true", "yes", "y", "default", "smart", "paranoid":
		r.became(variable, path, "domain")
	case "hash":
		r.put(path, "hash", variable)
		text := path + " = hash"
		if options != "" {
			text += ", with a key of mailwhy's own in place of the salt"
		}
		r.note(variable, Became, text, path)
	default:
		r.put(path, "domain", variable)
		r.refused(variable, "there is no filter "+strconv.Quote(filter)+"; log.addresses = domain is used")
	}
}

// masquerade reads which domains stand for their subdomains.
func (r *reading) masquerade() {
	const variable = "MASQUERADED_DOMAINS"
	list := splitList(r.use(variable))
	if len(list) == 0 {
		return
	}
	domains := make([]any, len(list))
	for i, d := range list {
		domains[i] = d
	}
	r.rewrites = append(r.rewrites, map[string]any{"name": variable, "masquerade": domains})
	r.note(variable, Became, fmt.Sprintf("rewrite.masquerade = %v", list), "rewrite")
}
