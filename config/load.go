package config

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"

	"mailwhy/config/dropin"
	"mailwhy/config/mistake"
)

// Source says where a configuration comes from. Flags go before Env, Env before File, File before Default.
type Source struct {
	File  string   // path of a TOML file; "" is the one that MAILWHY_CONFIG names, if any
	Env   []string // as os.Environ returns it
	Flags []Flag   // those that were given
	// Local is set by commands that only look for a running relay or its spool: they need no upstream.
	Local bool
}

// Flag is a flag that was given on the command line.
type Flag struct {
	Name  string // as typed, for messages: "--spool"
	Key   string // path of the setting: "spool.dir"; also "listen", "client" and "upstream" (a URL)
	Value string
}

// Load reads, merges, completes and checks a configuration. Its error is a Mistakes, with everything that
// is wrong.
func Load(src Source) (*Config, error) {
	merged, notes, ms := merge(src)
	if merged == nil {
		return nil, ms.Err()
	}
	presets, bad := merged.applyPresets()
	ms = append(ms, bad...)
	ms = append(ms, merged.unknown(ms)...)
	c, bad := decode(merged)
	c.presets, c.DropIn = presets, notes
	ms = append(ms, bad...)
	c.origins = make(map[string]string, len(merged))
	for path, s := range merged {
		c.origins[path] = s.origin
	}
	undecoded := slices.Clone(ms)
	report := func(key, what, hint string) {
		known := func(m mistake.Mistake) bool { return m.Key == key || strings.HasPrefix(m.Key, key+".") }
		inside := func(m mistake.Mistake) bool { return m.Key != "" && strings.HasPrefix(key, m.Key+".") }
		if !slices.ContainsFunc(ms, known) && !slices.ContainsFunc(undecoded, inside) {
			ms = append(ms, mistake.At(key, "", what, hint))
		}
	}
	c.complete(src.Env, report)
	c.validate(src.Local, report)
	for i := range ms {
		ms[i].Origin = cmp.Or(ms[i].Origin, c.origin(ms[i].Key))
	}
	if err := ms.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// merge reads the sources and lays one over the other, with what became of the variables of boky/postfix. It
// returns no layer when there is no point in going on.
func merge(src Source) (layer, []dropin.Note, mistake.List) {
	file := layer{}
	var ms mistake.List
	if path := cmp.Or(src.File, lookup(src.Env, envFile)); path != "" {
		if file, ms = fileLayer(path); file == nil {
			return nil, nil, ms
		}
	}
	ms = append(ms, file.normalize()...)
	env, bad := envLayer(src.Env, file.upstreams())
	ms = append(append(ms, bad...), env.normalize()...)
	flags := flagLayer(src.Flags)
	ms = append(ms, flags.normalize()...)
	ours := file
	maps.Copy(ours, env)
	maps.Copy(ours, flags)
	merged, notes, bad := ours.overDropIn(src)
	return merged, notes, append(ms, bad...)
}

// dropInSwitch is the variable that says whether the variables of boky/postfix count: on, off or auto.
const dropInSwitch = envPrefix + "POSTFIX_VARIABLES"

// overDropIn lays what is configured in our own words over what the variables of boky/postfix say. They count
// if they name a relay host and no upstream is configured otherwise, or if they are switched on.
func (l layer) overDropIn(src Source) (layer, []dropin.Note, mistake.List) {
	word, wanted := cmp.Or(lookup(src.Env, dropInSwitch), "auto"), dropin.Wanted(src.Env)
	switch {
	case !slices.Contains([]string{"auto", "on", "off"}, word):
		return l, nil, mistake.List{{Origin: dropInSwitch, What: fmt.Sprintf("is %q", word),
			Hint: "write auto, on or off"}}
	case word == "off":
		return l, nil, nil
	case word == "auto" && wanted && l.namesUpstream():
		return l, []dropin.Note{{Variable: "RELAYHOST", Outcome: dropin.None, Text: "an upstream is " +
			"configured; " + dropInSwitch + "=on reads the variables of boky/postfix all the same"}}, nil
	case !wanted && !src.Local && !l.namesUpstream() && dropin.Delivers(src.Env):
		return l, nil, mistake.List{{Origin: "RELAYHOST", What: "is not set: boky/postfix then delivers " +
			"mail to the servers of its recipients, which mailwhy does not",
			Hint: "set it to a provider or smarthost"}}
	case word == "auto" && !wanted:
		return l, nil, nil
	}
	read := dropin.Read(dropin.Input{Env: src.Env, Files: os.DirFS("/"), OwnNetwork: ownNetwork})
	below := layer{}
	for _, s := range read.Settings {
		if !l.namesUpstream() || !strings.HasPrefix(s.Path, upstreamSection+".") {
			below[s.Path] = setting{s.Value, s.From}
		}
	}
	for i, n := range read.Notes {
		if by, ours := l[n.Path]; ours {
			read.Notes[i].Outcome, read.Notes[i].Text = dropin.Overridden, n.Path+" of "+by.origin
		} else if _, used := below[n.Path]; n.Path != "" && !used {
			read.Notes[i].Outcome, read.Notes[i].Text = dropin.Overridden, "an upstream that is configured"
		}
	}
	ms := append(read.Mistakes, below.normalize()...)
	maps.Copy(below, l)
	return below, read.Notes, ms
}

// namesUpstream reports whether an upstream is configured, and not only some setting of one.
func (l layer) namesUpstream() bool {
	for _, name := range l.upstreams() {
		for _, key := range []string{".host", ".preset", ".type"} {
			if s, ok := l[upstreamSection+"."+name+key]; ok && s.value != "" {
				return true
			}
		}
	}
	return false
}

// decode has viper lay the settings over the defaults and decode the whole. It returns a Config even when
// there are mistakes, so that the rest can be checked too.
func decode(merged layer) (*Config, mistake.List) {
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	for _, k := range keys(withUpstreams(merged.upstreams())) {
		v.SetDefault(inside(k.path), k.value.Interface())
	}
	for _, path := range slices.Sorted(maps.Keys(merged)) {
		v.Set(inside(path), merged[path].value)
	}
	c := &Config{}
	return c, decodeMistakes(v.Unmarshal(c, decoderConfig))
}

// unknown finds settings that do not exist, except below a key that is already reported. (Viper's
// UnmarshalExact would stop at the first value that it cannot decode.)
func (l layer) unknown(reported mistake.List) (ms mistake.List) {
	known := knownPaths(l.upstreams())
	for _, path := range slices.Sorted(maps.Keys(l)) {
		below := func(parent string) bool { return path == parent || strings.HasPrefix(path, parent+".") }
		list, isList := l[path].value.([]any)
		switch {
		case slices.ContainsFunc(reported,
			func(m mistake.Mistake) bool { return m.Key != "" && below(m.Key) }):
		case isList && slices.ContainsFunc(known,
			func(k string) bool { return strings.HasPrefix(k, path+"[0].") }):
			ms = append(ms, unknownInTables(path, list, l[path].origin, known)...)
		case slices.Contains(known, path):
		case slices.ContainsFunc(known, func(k string) bool {
			list, _, ok := strings.Cut(k, "[")
			return ok && below(list)
		}): // a table where a list of tables is wanted: decoding says so
		default:
			ms = append(ms,
				mistake.At(path, l[path].origin, "unknown setting", nearest(path, known)))
		}
	}
	return ms
}

// nearest suggests the setting that name was probably meant to be, or where they stand.
func nearest(name string, known []string) string {
	return cmp.Or(mistake.Nearest(name, known), "relay.example.toml lists them all")
}

// unknownInTables is unknown for the elements of a list of tables.
func unknownInTables(path string, list []any, origin string, known []string) (ms mistake.List) {
	for i, e := range list {
		table, _ := e.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(table)) {
			if !slices.Contains(known, path+"[0]."+name) {
				full := fmt.Sprintf("%s[%d].%s", path, i, name)
				ms = append(ms,
					mistake.At(full, origin, "unknown setting", nearest(full, known)))
			}
		}
	}
	return ms
}

// knownPaths are the paths of all settings, for suggestions.
func knownPaths(upstreams []string) []string {
	c := withUpstreams(upstreams)
	oneOfEach(reflect.ValueOf(c).Elem())
	paths := []string{}
	for _, k := range keys(c) {
		paths = append(paths, k.path)
		if section, _, ok := strings.Cut(k.path, "."); ok && !slices.Contains(paths, section) {
			paths = append(paths, section)
		}
	}
	for _, name := range upstreams {
		paths = append(paths, upstreamSection+"."+name+".url")
	}
	return paths
}

// ClientsNamed reports whether the operator has said who may send mail, be it only this host.
func (c *Config) ClientsNamed() bool { return c.origin("client") != "" }

// origin says where the value at path came from; empty for a default.
func (c *Config) origin(path string) string {
	if o, ok := c.origins[path]; ok || path == "" {
		return o
	}
	if list, _, ok := strings.Cut(path, "["); ok {
		return c.origins[list]
	}
	for _, p := range slices.Sorted(maps.Keys(c.origins)) {
		if _, known := c.presets[p]; !known && strings.HasPrefix(p, path+".") {
			return c.origins[p]
		}
	}
	return ""
}
