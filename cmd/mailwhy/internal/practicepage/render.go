package practicepage

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"mailwhy/diagnose"
)

// functions are those of the templates.
func functions() template.FuncMap {
	return template.FuncMap{
		"size": size,
		"time": func(t time.Time) string { return t.Format(time.DateTime) },
		"join": func(list []string) string { return strings.Join(list, ", ") },
		"stage": func(s diagnose.Stage) string {
			for _, known := range stages() {
				if known.Stage == s {
					return known.Name
				}
			}
			return string(s)
		},
		"first": func(reply string) string { return strings.SplitN(reply, "\n", 2)[0] },
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// render answers with a template.
func (p *Page) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
