package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/viper"
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
func fileLayer(path string) (layer, Mistakes) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, Mistakes{{What: fileProblem(err), Origin: path,
			Hint: "name the configuration file with -c"}}
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, Mistakes{{What: "is not valid TOML: " + tomlProblem(err), Origin: path}}
	}
	ms := oddKeys("", tree, path)
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	v.SetConfigType("toml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return nil, append(ms, Mistake{What: "cannot be read: " + err.Error(), Origin: path})
	}
	l := layer{}
	flatten(l, "", v.AllSettings(), path)
	return l, ms
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
func oddKeys(path string, node any, origin string) (ms Mistakes) {
	switch n := node.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(n)) {
			full := strings.TrimPrefix(path+"."+name, ".")
			if low := strings.ToLower(name); low != name {
				ms = append(ms,
					Mistake{full, origin, "contains capital letters", fmt.Sprintf("write %q", low)})
			}
			if strings.Contains(name, ".") || strings.Contains(name, delimiter) {
				ms = append(ms,
					Mistake{full, origin, fmt.Sprintf("the name %q contains a dot or colon", name),
						"use letters, digits, - and _"})
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
func envLayer(env []string, upstreams []string) (layer, Mistakes) {
	known, ms := envNames(upstreams)
	l := layer{}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envFile || serviceLink(name, value) {
			continue
		}
		path, ok := known[name]
		if !ok {
			ms = append(ms, Mistake{Origin: name, What: "unknown setting",
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
func envNames(upstreams []string) (map[string]string, Mistakes) {
	var ms Mistakes
	known := map[string]string{
		envPrefix + "UPSTREAM": upstreamSection + "." + defaultUpstream + ".url",
	}
	add := func(name, path string) {
		if other, clash := known[name]; clash && other != path {
			ms = append(ms, Mistake{Key: path, What: "shares the variable " + name + " with " + other,
				Hint: "give the upstream another name"})
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
