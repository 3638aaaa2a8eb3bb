package page

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	web "mailwhy/relay/admin/page"
)

// upstreams are the configured ones, by name.
func (p *Page) upstreams() (list []web.Upstream) {
	all := p.o.Config().Upstream
	for _, name := range slices.Sorted(maps.Keys(all)) {
		u := all[name]
		where := net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
		if u.IsAPI() {
			where = u.Endpoint
		}
		list = append(list, web.Upstream{Name: name, Where: where, Connections: u.Concurrency,
			Rate: u.Rate.String(), DailyCap: u.DailyCap})
	}
	return list
}

// configuration is all that is in force. Secrets are redacted by config, and what may be one in a URL.
func (p *Page) configuration() (list []web.Setting) {
	for _, s := range p.o.Config().Settings() {
		section, key := "", s.Key
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			section, key = key[:i], key[i+1:]
		}
		if s.From == "default" {
			s.From = ""
		}
		list = append(list, web.Setting{Section: section, Key: key, Value: s.Value, Origin: s.From})
	}
	return list
}

// warnings are what is allowed but unwise.
func (p *Page) warnings() []string {
	cfg := p.o.Config()
	list := slices.Clone(cfg.Warnings)
	if err := cfg.CheckUsers(); err != nil {
		list = append(list, err.Error())
	}
	return list
}
