package dsn

import (
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"regexp"
	"strings"
	texttemplate "text/template"
)

// files hold the layout of part 1 (report.tmpl, digest.tmpl) and, in one file for each language, its words.
//
//go:embed templates
var files embed.FS

// blocks are the templates that part 1 is made of; a file of the operator's own may redefine any of them.
func blocks() []string {
	return []string{"subject", "text", "html", "digest_subject", "digest_text", "digest_html"}
}

// Templates write part 1. They are safe for concurrent use.
type Templates struct {
	text *texttemplate.Template // subject and text
	html *htmltemplate.Template
	said language
}

// EmbeddedTemplates are the built-in ones, in English.
func EmbeddedTemplates() (*Templates, error) { return ParseTemplates(English, "", "") }

// ParseTemplates makes templates of the built-in ones in a language and of the source of a file of the
// operator's own, which may redefine some or all of the blocks; source may be empty, name is for error
// messages.
func ParseTemplates(language, name, source string) (*Templates, error) {
	l, err := loadLanguage(language)
	if err != nil {
		return nil, err
	}
	f := l.functions()
	t := &Templates{
		said: l,
		text: texttemplate.New("part1").Funcs(f).Option("missingkey=error"),
		html: htmltemplate.New("part1").Funcs(f).Option("missingkey=error"),
	}
	for _, file := range []string{"report.tmpl", "digest.tmpl"} {
		b, err := fs.ReadFile(files, "templates/"+file)
		if err != nil {
			return nil, err
		}
		if err := t.parseBuiltIn(file, string(b)); err != nil {
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

// parseBuiltIn parses a file of ours, in which words that need no data are put in beforehand: a call for
// each would cost about a tenth of the time that a report takes.
func (t *Templates) parseBuiltIn(name, source string) error {
	put := func(escape func(string) string) string {
		return constant.ReplaceAllStringFunc(source, func(call string) string {
			w, ok := t.said[constant.FindStringSubmatch(call)[1]]
			text, plain := w.plain()
			if !ok || !plain {
				return call // fails when it is tried
			}
			return escape(text)
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

// checkSource finds mistakes that Go's templates let pass: a file that defines nothing that is used, and
// text outside of the definitions, which would be lost.
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
	if err := t.said.fillIn(v); err != nil {
		return nil, err
	}
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
