package dsn

import (
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"maps"
	"regexp"
	"strings"
	texttemplate "text/template"

	"github.com/pelletier/go-toml/v2"
)

// files hold the layout of part 1 (report.tmpl, digest.tmpl) and, in one file for each language, its words.
//
//go:embed templates
var files embed.FS

// English is the language that is always there; a word that another one lacks is taken from it.
const English = "en"

// blocks are the templates that part 1 is made of; a file of the operator's own may redefine any of them.
func blocks() []string {
	return []string{"subject", "text", "html", "digest_subject", "digest_text", "digest_html"}
}

// Templates write part 1. They are safe for concurrent use.
type Templates struct {
	text *texttemplate.Template // subject and text
	html *htmltemplate.Template
}

// EmbeddedTemplates are the built-in ones, in English.
func EmbeddedTemplates() (*Templates, error) { return ParseTemplates(English, "", "") }

// ParseTemplates makes templates of the built-in ones in a language and of the source of a file of the operator's own, which may redefine some
// or all of the blocks; source may be empty, name is for error messages.
func ParseTemplates(language, name, source string) (*Templates, error) {
	words, err := loadWords(language)
	if err != nil {
		return nil, err
	}
	f := functions(words)
	t := &Templates{
		text: texttemplate.New("part1").Funcs(f).Option("missingkey=error"),
		html: htmltemplate.New("part1").Funcs(f).Option("missingkey=error"),
	}
	for _, file := range []string{"report.tmpl", "digest.tmpl"} {
		b, err := fs.ReadFile(files, "templates/"+file)
		if err != nil {
			return nil, err
		}
		if err := t.parseBuiltIn(file, string(b), words); err != nil {
			return nil, err
		}
	}
	if source == "" {
		return t, nil
	}
	if err := checkSource(name, source, f); err != nil {
		return nil, err
	}
	return t, t.parse(name, source)
}

// parse adds the definitions of a file to both sets: which of them is used depends on the block.
func (t *Templates) parse(name, source string) error {
	if _, err := t.text.New(name).Parse(source); err != nil {
		return err
	}
	_, err := t.html.New(name).Parse(source)
	return err
}

// parseBuiltIn parses a file of ours, in which words that need no data are put in beforehand: a call for each would cost about a tenth
// of the time that a report takes.
func (t *Templates) parseBuiltIn(name, source string, words map[string]word) error {
	put := func(escape func(string) string) string {
		return constant.ReplaceAllStringFunc(source, func(call string) string {
			w, ok := words[constant.FindStringSubmatch(call)[1]]
			if !ok || w.template != nil {
				return call // fails when it is tried
			}
			return escape(w.text)
		})
	}
	if _, err := t.text.New(name).Parse(put(func(s string) string { return s })); err != nil {
		return err
	}
	_, err := t.html.New(name).Parse(put(htmltemplate.HTMLEscapeString))
	return err
}

// constant is a call for words that need no data.
var constant = regexp.MustCompile(`\{\{word "(\w+)"\}\}`)

// checkSource finds mistakes that Go's templates let pass: a file that defines nothing that is used, and text outside
// of the definitions, which would be lost.
func checkSource(name, source string, f texttemplate.FuncMap) error {
	t, err := texttemplate.New(name).Funcs(f).Parse(source)
	if err != nil {
		return err
	}
	if t.Tree != nil && strings.TrimSpace(t.Root.String()) != "" {
		return fmt.Errorf("template: %s: text outside of {{define}} blocks", name)
	}
	for _, block := range blocks() {
		if t.Lookup(block) != nil {
			return nil
		}
	}
	return fmt.Errorf("template: %s: defines none of %s", name, strings.Join(blocks(), ", "))
}

// render fills in the blocks whose names begin with prefix.
func (t *Templates) render(prefix string, v *View) (*words, error) {
	var subject, text, html strings.Builder
	text.Grow(2 << 10)
	html.Grow(8 << 10)
	if err := t.text.ExecuteTemplate(&subject, prefix+"subject", v); err != nil {
		return nil, err
	}
	v.Title = ellipsis(strings.Join(strings.Fields(subject.String()), " "), maxLine-100)
	if v.Title == "" {
		return nil, errors.New("template: the subject is empty")
	}
	if err := t.text.ExecuteTemplate(&text, prefix+"text", v); err != nil {
		return nil, err
	}
	if err := t.html.ExecuteTemplate(&html, prefix+"html", v); err != nil {
		return nil, err
	}
	return &words{subject: v.Title, text: text.String(), html: html.String()}, nil
}

// Languages are the built-in languages, by the names of their files.
func Languages() []string {
	found, _ := fs.Glob(files, "templates/*.toml") // the pattern is well-formed
	for i := range found {
		found[i] = strings.TrimSuffix(strings.TrimPrefix(found[i], "templates/"), ".toml")
	}
	return found
}

// loadWords reads a language's words, each a template of its own, over the English ones.
func loadWords(language string) (map[string]word, error) {
	texts := map[string]string{}
	for _, l := range []string{English, language} {
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
	return parseWords(texts)
}

// parseWords makes a template of each word that is more than a text.
func parseWords(texts map[string]string) (map[string]word, error) {
	words := make(map[string]word, len(texts))
	f := functions(words)
	for key, source := range texts {
		source = strings.TrimSpace(source)
		if !strings.Contains(source, "{{") {
			words[key] = word{text: source}
			continue
		}
		t, err := texttemplate.New(key).Funcs(f).Parse(source)
		if err != nil {
			return nil, err
		}
		words[key] = word{template: t}
	}
	return words, nil
}
