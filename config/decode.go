package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/pelletier/go-toml/v2"

	"mailwhy/config/mistake"
	"mailwhy/config/value"
)

// decoderConfig sets up the decoder that viper runs: strict types, every conversion ours.
func decoderConfig(dc *mapstructure.DecoderConfig) {
	dc.TagName = "toml"
	dc.WeaklyTypedInput = false
	dc.ZeroFields = true
	dc.MatchName = func(key, field string) bool { return key == field }
	dc.DecodeHook = mapstructure.DecodeHookFuncValue(decodeValue)
}

// decodeValue converts from to the type of to, or says what is wrong with it. An error never contains the
// value of a secret.
func decodeValue(from, to reflect.Value) (any, error) {
	for from.Kind() == reflect.Interface {
		from = from.Elem()
	}
	if !from.IsValid() || from.Type() == to.Type() {
		return valueOf(from), nil
	}
	switch to.Kind() {
	case reflect.Pointer, reflect.Map:
		return tableFrom(from)
	case reflect.Struct:
		if isTable(to.Type()) {
			return tableFrom(from)
		}
	}
	if from.Kind() == reflect.String {
		return parseInto(from.String(), to.Type())
	}
	return convertInto(from, to.Type())
}

// valueOf is v's value, or nil.
func valueOf(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

// tableFrom accepts only a table.
func tableFrom(from reflect.Value) (any, error) {
	if from.Kind() != reflect.Map && from.Kind() != reflect.Struct && from.Kind() != reflect.Pointer {
		return nil, mistake.Bad("must be a table", "write its keys below a [section] of that name")
	}
	return from.Interface(), nil
}

// parseInto reads text as a value of type t.
func parseInto(s string, t reflect.Type) (any, error) {
	switch t {
	case reflect.TypeFor[value.Secret]():
		return value.NewSecret(s), nil
	case reflect.TypeFor[[]value.Secret]():
		return []string{s}, nil // one, whatever it contains
	case reflect.TypeFor[time.Duration]():
		return value.ParseDuration(s)
	case reflect.TypeFor[value.Size]():
		return value.ParseSize(s)
	case reflect.TypeFor[value.Rate]():
		return value.ParseRate(s)
	case reflect.TypeFor[value.Schedule]():
		return value.ParseSchedule(s)
	case reflect.TypeFor[value.FileMode]():
		return value.ParseFileMode(s)
	case reflect.TypeFor[value.Date]():
		return value.ParseDate(s)
	case reflect.TypeFor[netip.Prefix]():
		return value.ParseNetwork(s)
	}
	return parseKind(s, t)
}

// parseKind reads text as a value of one of the plain kinds.
func parseKind(s string, t reflect.Type) (any, error) {
	switch t.Kind() {
	case reflect.Bool:
		if s != "true" && s != "false" {
			return nil, mistake.Bad(fmt.Sprintf("is %q", s), "write true or false")
		}
		return s == "true", nil
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, t.Bits())
		if err != nil {
			return nil, mistake.Bad(fmt.Sprintf("%q is not a whole number", s), "")
		}
		return n, nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, mistake.Bad(fmt.Sprintf("%q is not a number", s), "")
		}
		return f, nil
	case reflect.Slice:
		if isTable(t.Elem()) {
			return nil, mistake.Bad("must be a list of tables", "see relay.example.toml")
		}
		return splitList(s), nil
	}
	return s, nil
}

// splitList splits a comma-separated list; the empty string is the empty list.
func splitList(s string) []string {
	list := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// convertInto checks that a value that is not text fits the type t.
func convertInto(from reflect.Value, t reflect.Type) (any, error) {
	if day, ok := from.Interface().(toml.LocalDate); ok && t == reflect.TypeFor[value.Date]() {
		return value.ParseDate(day.String())
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return nil, mistake.Bad(fmt.Sprintf("%v has no unit", from),
			`write a duration in quotes, as in "30s", "5m", "4h" or "5d"`)
	case reflect.TypeFor[value.Rate](), reflect.TypeFor[netip.Prefix](), reflect.TypeFor[value.FileMode](),
		reflect.TypeFor[value.Schedule](), reflect.TypeFor[value.Date]():
		return nil, mistake.Bad("must be in quotes", "see relay.example.toml")
	case reflect.TypeFor[value.Secret]():
		return nil, mistake.Bad("must be in quotes", "")
	}
	if t.Kind() == reflect.Slice && isTable(t.Elem()) && from.Kind() == reflect.Map {
		return nil, mistake.Bad("must be a list of tables",
			"write its header with two brackets, as in [[listen]]")
	}
	kinds := map[reflect.Kind]string{reflect.Bool: "true or false", reflect.String: "text in quotes",
		reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Float64: "a number",
		reflect.Slice: "a list"}
	if !suits(from.Kind(), t.Kind()) {
		return nil, mistake.Bad("has the wrong type", "write "+kinds[t.Kind()])
	}
	if t == reflect.TypeFor[value.Size]() && from.Int() < 0 {
		return nil, mistake.Bad(fmt.Sprintf("%v is not a size", from), "")
	}
	return from.Interface(), nil
}

// suits reports whether a value of kind from can be stored in one of kind to without changing its meaning.
func suits(from, to reflect.Kind) bool {
	integer := from == reflect.Int || from == reflect.Int64
	switch to {
	case reflect.Int, reflect.Int64:
		return integer
	case reflect.Float64:
		return integer || from == reflect.Float64
	}
	return from == to
}

// decodeMistakes turns the error tree of mapstructure into mistakes.
func decodeMistakes(err error) mistake.List {
	var ms mistake.List
	for _, leaf := range leaves(err, "") {
		m := mistake.Mistake{Key: leaf.key, What: leaf.err.Error()}
		if bad, ok := errors.AsType[*mistake.Value](leaf.err); ok {
			m.What, m.Hint = bad.What, bad.Hint
		} else if _, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](leaf.err); ok {
			m.What, m.Hint = "has the wrong type", "see relay.example.toml"
		}
		ms = append(ms, m)
	}
	return ms
}

// leaf is an error of one key.
type leaf struct {
	key string
	err error
}

// leaves returns the innermost errors below err, each with the key path that its nearest DecodeError names.
func leaves(err error, key string) []leaf {
	switch e := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []leaf
		for _, one := range e.Unwrap() {
			all = append(all, leaves(one, key)...)
		}
		return all
	case *mapstructure.DecodeError:
		return leaves(e.Unwrap(), keyPath(e.Name()))
	}
	if inner := errors.Unwrap(err); inner != nil {
		return leaves(inner, key)
	}
	return []leaf{{key, err}}
}

// keyPath turns mapstructure's name of a field, "upstream[default].port", into a key path. Indexes of lists
// stay.
func keyPath(name string) string {
	var b strings.Builder
	for name != "" {
		i := strings.IndexByte(name, '[')
		j := strings.IndexByte(name, ']')
		if i < 0 || j < i {
			break
		}
		inner := name[i+1 : j]
		b.WriteString(name[:i])
		if strings.Trim(inner, "0123456789") == "" {
			b.WriteString("[" + inner + "]")
		} else {
			b.WriteString("." + inner)
		}
		name = name[j+1:]
	}
	return b.String() + name
}
