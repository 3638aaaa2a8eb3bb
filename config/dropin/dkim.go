package dropin

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// The directories of the keys: of opendkim, which boky/postfix fills and asks its users to mount, and of
// rspamd, into which it copies them.
const (
	opendkimKeys = "etc/opendkim/keys"
	rspamdKeys   = "var/lib/rspamd/dkim"
)

// dkim reads the keys that sign.
func (r *reading) dkim() {
	selector := selectors(r.use("DKIM_SELECTOR"))
	keys := map[string]map[string]any{} // by domain; those of opendkim first
	files, _ := fs.Glob(r.in.Files, opendkimKeys+"/*.private")
	for _, file := range files {
		domain := strings.ToLower(strings.TrimSuffix(path.Base(file), ".private"))
		keys[domain] = key(domain, selector(domain), file)
	}
	files, _ = fs.Glob(r.in.Files, rspamdKeys+"/*.key")
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".key")
		domain, own := name, ""
		if i := strings.LastIndexByte(name, '.'); i > 0 {
			domain, own = strings.ToLower(name[:i]), name[i+1:]
		}
		if keys[domain] == nil && own != "" {
			keys[domain] = key(domain, own, file)
		}
	}
	r.signed(keys)
	if v := r.use("DKIM_SELECTOR"); v != "" {
		if len(keys) == 0 {
			r.none("DKIM_SELECTOR", "/"+opendkimKeys+" holds no key, DOMAIN.private")
		} else {
			r.note("DKIM_SELECTOR", Became, "dkim.selector", "dkim")
		}
	}
	if r.use("DKIM_AUTOGENERATE") != "" {
		r.autogenerate(keys)
	}
}

// signed adds the keys, in order of their domains.
func (r *reading) signed(keys map[string]map[string]any) {
	var domains []string
	for domain := range keys {
		domains = append(domains, domain)
	}
	slices.Sort(domains)
	var list []any
	for _, domain := range domains {
		k := keys[domain]
		list = append(list, k)
		r.note(fmt.Sprint(k["key_file"]), Became, fmt.Sprintf("dkim.key_file, of domain = %s, selector = %s",
			domain, k["selector"]), "dkim")
	}
	if len(list) > 0 {
		r.put("dkim", list, "/"+opendkimKeys)
	}
}

// autogenerate says which domains have no key. A key is not made at a start: until its record is in DNS, mail
// that it signs fails DMARC no less than mail without a signature.
func (r *reading) autogenerate(keys map[string]map[string]any) {
	var without []string
	for _, word := range strings.Fields(r.get("ALLOWED_SENDER_DOMAINS")) {
		if domain := strings.ToLower(word); keys[domain] == nil && !strings.Contains(domain, "@") {
			without = append(without, "mailwhy dkim keygen "+domain)
		}
	}
	if len(without) == 0 {
		r.none("DKIM_AUTOGENERATE", "the keys are there")
		return
	}
	r.refused("DKIM_AUTOGENERATE", "a key is of use only with its record in DNS: run "+
		strings.Join(without, ", ")+", publish what it prints, and mount the key")
}

// key is an element of [[dkim]].
func key(domain, selector, file string) map[string]any {
	return map[string]any{"domain": domain, "selector": selector, "key_file": "/" + file}
}

// selectors reads DKIM_SELECTOR: "foo,example.org=bar" is bar for example.org, and foo for all others.
func selectors(s string) func(domain string) string {
	usual, own := "mail", map[string]string{}
	for _, entry := range splitList(s) {
		if domain, selector, ok := strings.Cut(entry, "="); ok {
			own[strings.ToLower(domain)] = selector
		} else {
			usual = entry
		}
	}
	return func(domain string) string {
		if selector, ok := own[domain]; ok {
			return selector
		}
		return usual
	}
}
