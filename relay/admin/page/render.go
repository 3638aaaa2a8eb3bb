package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// files are the templates, the style and the script.
//
//go:embed templates/*.html assets/*
var files embed.FS

// templates are those of the pages, by name.
type templates map[string]*template.Template

// parse reads the templates: each page is one together with those that all share.
func parse() (templates, error) {
	shared, err := template.New("").Funcs(funcs()).ParseFS(files, "templates/layout.html",
		"templates/parts.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	t := templates{}
	for _, name := range names {
		one, err := shared.Clone()
		if err == nil {
			one, err = one.ParseFS(files, name)
		}
		if err != nil {
			return nil, err
		}
		t[strings.TrimSuffix(path.Base(name), ".html")] = one
	}
	return t, nil
}

// render writes a page. A template that fails leaves nothing half written.
func (p *Page) render(w http.ResponseWriter, status int, v *view) {
	var b bytes.Buffer
	t, err := p.templates()
	if err == nil {
		err = t[v.template].ExecuteTemplate(&b, "layout", v)
	}
	if err != nil {
		p.o.Log.Error("the page cannot be shown", "page", v.template, "err", err)
		http.Error(w, "The page cannot be shown; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes()) // a browser that went away needs no answer
}

// asset answers for the style and the script.
func (s *site) asset(w http.ResponseWriter, r *http.Request) {
	b, err := files.ReadFile("assets/" + path.Base(r.PathValue("name")))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	kind := map[string]string{".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
	w.Header().Set("Content-Type", kind[path.Ext(r.PathValue("name"))]+"; charset=utf-8")
	w.Header().Set("Cache-Control", "private, max-age=300")
	w.Write(b)
}

// funcs are what the templates can do.
func funcs() template.FuncMap {
	return template.FuncMap{
		"shown": Shown, "lines": shownLines, "words": words, "owner": diagnose.Owner.Words, "plural": plural,
		"ago": ago, "until": until, "stamp": stamp, "short": short, "lasting": lasting,
		"size": size, "query": query,
		"rawquery":   func(q string) template.URL { return template.URL(q) }, // made by url.Values
		"iso":        func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"known":      func(t time.Time) bool { return !t.IsZero() },
		"since":      func(now, t time.Time) time.Duration { return now.Sub(t) },
		"seconds":    func(s diagnose.Seconds) string { return lasting(time.Duration(s)) },
		"said":       func(e *relay.Event) string { return viewOf(e).Said },
		"minus":      func(a, b int) int { return a - b },
		"odd":        func(i int) bool { return i%2 == 1 },
		"list":       func(all ...string) []string { return all },
		"tab":        tabOf,
		"stateclass": stateClass,
		"eventsof":   func(v *view, events []eventView) eventsPart { return eventsPart{v.Base, events} },
		"rowof":      func(m messageRow, now time.Time) rowPart { return rowPart{m, now} },
		"actionname": func(a admin.Action) string {
			return strings.ToUpper(string(a[:1])) + string(a[1:])
		},
		"actiondone": func(a admin.Action) string {
			return map[admin.Action]string{admin.Retry: "tried now", admin.Hold: "held",
				admin.Release: "released", admin.Drop: "dropped"}[a]
		},
	}
}

// What parts of templates are given.
type (
	tab struct {
		Base, Path, Name string
		Current          bool
	}
	eventsPart struct {
		Base   string
		Events []eventView
	}
	rowPart struct {
		messageRow
		Now time.Time
	}
)

// tabOf is an entry of the navigation.
func tabOf(v *view, path, name string) tab {
	current := v.At == path || path != "/" && strings.HasPrefix(v.At, path+"/") ||
		path == "/queue" && (strings.HasPrefix(v.At, "/message/") || v.At == "/search")
	return tab{v.Base, path, name, current}
}

// stateClass is the class of CSS for the state of a recipient.
func stateClass(s relay.State) string {
	switch s {
	case relay.Relayed:
		return "good"
	case relay.Failed, relay.Expired, relay.Suppressed:
		return "bad"
	case relay.Held, relay.Deferred:
		return "wait"
	}
	return "plain"
}

// shownMost is how many characters of a text of others are shown.
const shownMost = 2000

// Shown makes a text of others visible as what it is: one line, with each control, each character that is
// invisible or reorders text, and each byte that is no UTF-8 spelled out, and no more than a screen of it.
func Shown(text any) string {
	return shown(strings.ReplaceAll(strings.TrimRight(fmt.Sprint(text), "\r\n"), "\r\n", " "), false)
}

// shownLines is Shown for a text of several lines, such as a reply.
func shownLines(text any) string { return shown(strings.TrimRight(fmt.Sprint(text), "\r\n"), true) }

func shown(s string, lines bool) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); n++ {
		if n == shownMost {
			fmt.Fprintf(&b, " … (%d bytes more)", len(s)-i)
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n' && lines:
			b.WriteByte('\n')
		case r == '\t':
			b.WriteByte(' ')
		case r == '\r' && lines && strings.HasPrefix(s[i:], "\r\n"):
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			fmt.Fprintf(&b, `\u{%04x}`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// words are a name of ours for people: "user_unknown" is "user unknown".
func words(name any) string { return strings.ReplaceAll(fmt.Sprint(name), "_", " ") }

// stamp is a time as people read it, and short the same where UTC is said elsewhere.
func stamp(t time.Time) string { return short(t) + " UTC" }

func short(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05") }

// ago is how long before now a time is.
func ago(t, now time.Time) string {
	if d := now.Sub(t); d >= time.Second {
		return lasting(d) + " ago"
	}
	return "just now"
}

// until is how long after now a time is.
func until(t, now time.Time) string {
	if d := t.Sub(now); d >= time.Second {
		return "in " + lasting(d)
	}
	return "now"
}

// lasting is a duration in its two largest units.
func lasting(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
}

// size is a number of bytes.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// plural is a number with its noun: "1 message", "2 messages".
func plural(n any, noun string) string {
	text := fmt.Sprint(n)
	switch {
	case text == "1":
		return "1 " + noun
	case strings.HasSuffix(noun, "ry"):
		return text + " " + strings.TrimSuffix(noun, "y") + "ies"
	case strings.HasSuffix(noun, "ss"):
		return text + " " + noun + "es"
	}
	return text + " " + noun + "s"
}

// query makes a query of names and values; empty values are left out.
func query(pairs ...any) template.URL {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value != "" {
			q.Set(fmt.Sprint(pairs[i]), value)
		}
	}
	return template.URL(q.Encode()) // every value is escaped
}
