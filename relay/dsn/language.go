package dsn

import (
	"fmt"
	"io/fs"
	"maps"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// English is the language that is always there; a word that another one lacks is taken from it.
const English = "en"

// Languages are the built-in languages, by the names of their files.
func Languages() []string {
	found, _ := fs.Glob(files, "templates/*.toml") // the pattern is well-formed
	for i := range found {
		found[i] = strings.TrimSuffix(strings.TrimPrefix(found[i], "templates/"), ".toml")
	}
	return found
}

// language is the words of a language, by their keys.
type language map[string]word

// word is one of a language's words: a template, or, as most are, a mere text.
type word struct {
	text     string
	template *texttemplate.Template // nil for a text
}

// loadLanguage reads a language's words, each a template of its own, over the English ones.
func loadLanguage(name string) (language, error) {
	texts := map[string]string{}
	for _, l := range []string{English, name} {
		b, err := fs.ReadFile(files, "templates/"+l+".toml")
		if err != nil {
			return nil, fmt.Errorf("no language %q; there are %s", l, strings.Join(Languages(), ", "))
		}
		var own map[string]string
		if err := toml.Unmarshal(b, &own); err != nil {
			return nil, fmt.Errorf("templates/%s.toml: %w", l, err)
		}
		maps.Copy(texts, own)
	}
	return parseLanguage(texts)
}

// parseLanguage makes a template of each word that is more than a text.
func parseLanguage(texts map[string]string) (language, error) {
	l := make(language, len(texts))
	f := l.functions()
	for key, source := range texts {
		source = strings.TrimSpace(source)
		if !strings.Contains(source, "{{") {
			l[key] = word{text: source}
			continue
		}
		t, err := texttemplate.New(key).Funcs(f).Parse(source)
		if err != nil {
			return nil, err
		}
		l[key] = word{template: t}
	}
	return l, nil
}

// say fills in the words for a key.
func (l language) say(key string, data any) (string, error) {
	w, ok := l[key]
	switch {
	case !ok:
		return "", fmt.Errorf("no words for %q", key)
	case w.template == nil:
		return w.text, nil
	}
	var b strings.Builder
	b.Grow(128)
	err := w.template.Execute(&b, data)
	return b.String(), err
}

// choose is the words for KIND_NAME, "" when there are none.
func (l language) choose(kind, name string) (string, error) {
	key := kind + "_" + name
	if _, ok := l[key]; !ok {
		return "", nil
	}
	return l.say(key, nil)
}

// span is a duration in words, in the largest unit of which there are at least two, rounded down.
func (l language) span(d time.Duration) (string, error) {
	switch {
	case d >= 48*time.Hour:
		return l.say("days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return l.say("hours", int(d.Hours()))
	case d >= 2*time.Minute:
		return l.say("minutes", int(d.Minutes()))
	}
	return l.say("seconds", int(d.Seconds()))
}
