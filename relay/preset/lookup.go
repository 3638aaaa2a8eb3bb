package preset

import (
	"regexp"
	"strings"
)

// ByName is the preset of that name, or nil.
func (s *Set) ByName(name string) *Preset {
	for _, p := range s.All {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Names are the names of all presets, in the order of the file.
func (s *Set) Names() []string {
	names := make([]string, len(s.All))
	for i, p := range s.All {
		names[i] = p.Name
	}
	return names
}

// ByHost is the preset to which a host name belongs, in any case and with or without the final dot, or nil.
func (s *Set) ByHost(host string) *Preset {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, p := range s.All {
		for _, known := range p.Hosts.Value {
			if hostPattern(known).MatchString(host) {
				return p
			}
		}
	}
	return nil
}

// Parts are the values of the placeholders in a host name of the preset, such as region; nil for any other
// name.
func (p *Preset) Parts(host string) map[string]string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, known := range p.Hosts.Value {
		names := placeholder.FindAllStringSubmatch(known, -1)
		m := hostPattern(known).FindStringSubmatch(host)
		if m == nil {
			continue
		}
		parts := map[string]string{}
		for i, name := range names {
			parts[name[1]] = m[i+1]
		}
		return parts
	}
	return nil
}

// hostPattern matches the host names that a name with placeholders stands for: one label each, in a group.
func hostPattern(name string) *regexp.Regexp {
	var b strings.Builder
	last := 0
	for _, at := range placeholder.FindAllStringIndex(name, -1) {
		b.WriteString(regexp.QuoteMeta(name[last:at[0]]) + `([a-z0-9-]+)`)
		last = at[1]
	}
	return regexp.MustCompile(`^` + b.String() + regexp.QuoteMeta(name[last:]) + `$`)
}
