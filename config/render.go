package config

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"mailwhy/config/value"
)

// show is a value as it is written in relay.toml. A Secret shows whether it is set.
func show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return strconv.Quote(value.FormatDuration(x))
	case value.Secret:
		return strconv.Quote(x.String())
	case value.Size:
		return quoteUnlessNumber(x.String())
	case fmt.Stringer:
		return strconv.Quote(x.String())
	case string:
		return strconv.Quote(x)
	}
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = show(v.Index(i))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// quoteUnlessNumber quotes s unless it is a plain number.
func quoteUnlessNumber(s string) string {
	if strings.Trim(s, "0123456789") == "" {
		return s
	}
	return strconv.Quote(s)
}

// Setting is one setting in force.
type Setting struct {
	Key   string // its path, as upstream.default.host
	Value string // as relay.toml has it; a secret only shows whether it is set
	From  string // file and line, environment variable, flag or preset; "default"
}

// Settings are all settings in force, in the order of relay.toml, with secrets redacted.
func (c *Config) Settings() (all []Setting) {
	walk("", reflect.ValueOf(c).Elem(), func(k key) {
		if t := k.value.Type(); t.Kind() == reflect.Slice && isTable(t.Elem()) {
			return
		}
		all = append(all, Setting{k.path, withoutQuery(show(k.value)), cmp.Or(c.origin(k.path), "default")})
	})
	return all
}

// withoutQuery leaves out what a URL has behind "?": that of a webhook may be a secret.
func withoutQuery(shown string) string {
	address, _, found := strings.Cut(shown, "?")
	if found && (strings.HasPrefix(shown, `"https://`) || strings.HasPrefix(shown, `"http://`)) {
		return address + `?(hidden)"`
	}
	return shown
}

// isSecret reports whether a value is a secret, or a list of them.
func isSecret(v reflect.Value) bool {
	t := v.Type()
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t == reflect.TypeFor[value.Secret]()
}

// Write prints c as a relay.toml, with secrets redacted and as comments, and with the origin of each value
// that is not a default. Of an upstream it says so for defaults too, since there they stand beside the values
// of a preset.
func (c *Config) Write(w io.Writer) error {
	var b strings.Builder
	section := ""
	walk("", reflect.ValueOf(c).Elem(), func(k key) {
		if t := k.value.Type(); t.Kind() == reflect.Slice && isTable(t.Elem()) {
			return // a list of tables that is empty is written by leaving it out
		}
		parent, name := "", k.path
		if i := strings.LastIndexByte(k.path, '.'); i >= 0 {
			parent, name = k.path[:i], k.path[i+1:]
		}
		if parent != section {
			section = parent
			fmt.Fprintf(&b, "\n%s\n", header(parent))
		}
		if isSecret(k.value) && !k.value.IsZero() {
			b.WriteString("# ") // so that the output can be loaded: the value is not there, its file is
		}
		fmt.Fprintf(&b, "%s = %s", name, show(k.value))
		origin := c.origin(k.path)
		if origin == "" && strings.HasPrefix(k.path, upstreamSection+".") {
			origin = "default"
		}
		if origin != "" && (k.value.Kind() != reflect.String || k.value.Len() > 0) {
			fmt.Fprintf(&b, "  # %s", origin)
		}
		b.WriteByte('\n')
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// header is the line that begins a section: "[spool]", or "[[listen]]" for an element of a list.
func header(section string) string {
	if list, _, ok := strings.Cut(section, "["); ok {
		return "[[" + list + "]]"
	}
	return "[" + section + "]"
}
