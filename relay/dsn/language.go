package dsn

import (
	"fmt"
	"io/fs"
	"maps"
	"strings"

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

// loadLanguage reads a language's words over the English ones.
func loadLanguage(name string) (language, error) {
	texts := map[string]string{}
	for _, l := range []string{English, name} {
		b, err := fs.ReadFile(files, "templates/"+l+".toml")
		if err != nil {
			return nil, fmt.Errorf("not a language: %q; there are %s", l, strings.Join(Languages(), ", "))
		}
		var own map[string]string
		if err := toml.Unmarshal(b, &own); err != nil {
			return nil, fmt.Errorf("templates/%s.toml: %w", l, err)
		}
		maps.Copy(texts, own)
	}
	return parseLanguage(texts)
}

// parseLanguage reads each word.
func parseLanguage(texts map[string]string) (language, error) {
	l := make(language, len(texts))
	for key, source := range texts {
		w, err := parseWord(strings.TrimSpace(source))
		if err != nil {
			return nil, fmt.Errorf("the words %s: %w", key, err)
		}
		l[key] = w
	}
	return l, nil
}
