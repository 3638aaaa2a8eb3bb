package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"mailwhy/config/value"
)

// delimiter separates the names of a path inside viper. It is not a dot, so no name can contain it.
const delimiter = "::"

// upstreamSection is the one section whose tables are named by the user.
const upstreamSection = "upstream"

// defaultUpstream is the upstream that flags and the environment set.
const defaultUpstream = "default"

// key is one setting: a leaf of Config.
type key struct {
	path  string // dotted
	tag   reflect.StructTag
	value reflect.Value
}

// walk calls each for every leaf below v, in the order of the struct. An empty list of tables is a leaf;
// walk descends into any other.
func walk(path string, v reflect.Value, each func(key)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("toml")
		if name == "" || name == "-" {
			continue
		}
		walkField(strings.TrimPrefix(path+"."+name, "."), f.Tag, v.Field(i), each)
	}
}

// walkField is walk for one field.
func walkField(path string, tag reflect.StructTag, v reflect.Value, each func(key)) {
	switch {
	case v.Kind() == reflect.Struct && !isScalar(v.Type()):
		walk(path, v, each)
	case v.Kind() == reflect.Map:
		for _, name := range sortedKeys(v) {
			walk(path+"."+name, v.MapIndex(reflect.ValueOf(name)).Elem(), each)
		}
	case v.Kind() == reflect.Slice && isTable(v.Type().Elem()) && v.Len() > 0:
		for i := range v.Len() {
			walk(path+"["+strconv.Itoa(i)+"]", v.Index(i), each)
		}
	default:
		each(key{path, tag, v})
	}
}

// isTable reports whether t is written as a TOML table.
func isTable(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isScalar(t) }

// isScalar reports whether the struct type t is written as one value.
func isScalar(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[value.Secret](), reflect.TypeFor[value.Rate](), reflect.TypeFor[value.Date](),
		reflect.TypeFor[netip.Prefix]():
		return true
	}
	return false
}

// sortedKeys returns the keys of a map with string keys, in order.
func sortedKeys(m reflect.Value) []string {
	names := make([]string, 0, m.Len())
	for _, k := range m.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}

// keys returns the leaves of c.
func keys(c *Config) []key {
	var ks []key
	walk("", reflect.ValueOf(c).Elem(), func(k key) { ks = append(ks, k) })
	return ks
}

// oneOfEach gives each list of tables below v one element if it is empty, so that walk reaches the keys of
// the tables.
func oneOfEach(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.Struct && !isScalar(f.Type()):
			oneOfEach(f)
		case f.Kind() == reflect.Slice && isTable(f.Type().Elem()) && f.Len() == 0 && f.CanSet():
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		}
	}
}

// withUpstreams returns Default with a default upstream under each of names: the tree of every key that can
// be set.
func withUpstreams(names []string) *Config {
	c := Default()
	c.Upstream = make(map[string]*Upstream, len(names))
	for _, name := range names {
		c.Upstream[name] = DefaultUpstream()
	}
	return c
}

// inside turns a dotted path into viper's.
func inside(path string) string { return strings.ReplaceAll(path, ".", delimiter) }
