package page

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/admin/page/proxy"
)

// page makes what a page shows: the name of its template and the data for it. It may return a *redirect.
type page func(r *http.Request) (view, error)

// view is what a template is given.
type view struct {
	template string
	Title    string
	Data     any
	Live     bool   // the page is fetched again when something changes
	Notice   string // what was done

	// Filled in by show.
	Base    string
	At      string // the path that was asked for, without the base
	Who     string
	Write   bool // whether the visitor may change things
	Session bool // whether there is something to log out of
	History bool // whether there is a history
	Version string
}

// nothing answers for an address where there is no page.
func nothing(*http.Request) (view, error) {
	return view{}, &mistake{http.StatusNotFound, "There is no such page."}
}

// redirect is an answer that leads to another page of ours.
type redirect struct{ path string }

// Error implements error.
func (r *redirect) Error() string { return "see " + r.path }

// mistake is an error of whoever asks.
type mistake struct {
	status int
	text   string
}

// Error implements error.
func (m *mistake) Error() string { return m.text }

// wrong is a mistake in a form or an address.
func wrong(format string, args ...any) error {
	return &mistake{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// maxForm is how large a form may be, bytes: a list to import is the largest.
const maxForm = 4 << 20

// read answers whoever may look.
func (s *site) read(show page) http.HandlerFunc { return s.answer(show, access.Read) }

// write answers whoever may change things. Pages that only ask whether to are among them.
func (s *site) write(do page) http.HandlerFunc { return s.answer(do, access.Write) }

// answer is the one way to a page: who asks comes first, whatever the address looked like.
func (s *site) answer(p page, need access.Scope) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, session, ok := s.who(r)
		if !ok {
			s.toLogin(w, r)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		v, err := view{}, error(nil)
		if !who.May(need) {
			err = &mistake{http.StatusForbidden,
				"You may look, but not change anything: your token or user lacks the right to write."}
		} else if err = r.ParseForm(); err == nil {
			v, err = p(r)
		} else {
			err = wrong("The form cannot be read: %v", err)
		}
		to := (*redirect)(nil)
		moves := errors.As(err, &to)
		if (err == nil || moves) && r.Method == http.MethodPost && need == access.Write {
			s.o.Log.Info("changed over the page", "by", who.Name, "request", r.URL.Path)
		}
		if moves {
			http.Redirect(w, r, s.base+to.path, http.StatusSeeOther)
			return
		}
		s.show(w, r, v, err, who, session)
	}
}

// show writes a page, or what went wrong.
func (s *site) show(w http.ResponseWriter, r *http.Request, v view, err error, who access.Identity,
	session bool) {
	status := http.StatusOK
	if err != nil {
		status = statusOf(err)
		v = view{template: "error", Title: http.StatusText(status), Data: err.Error()}
	}
	v.Base, v.At, v.Version = s.base, r.URL.Path, s.o.Version
	v.Who, v.Write, v.Session = who.Name, who.May(access.Write), session
	v.History = s.o.History != nil
	v.Live = v.Live && r.Method == http.MethodGet
	s.render(w, status, &v)
}

// statusOf is the HTTP status of an error.
func statusOf(err error) int {
	var m *mistake
	switch {
	case errors.As(err, &m):
		return m.status
	case errors.Is(err, relay.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, admin.ErrNotRunning):
		return http.StatusServiceUnavailable
	}
	if status := admin.StatusOf(err); status != 0 {
		return status // what the relay did not take from the page, it did not take from the browser
	}
	return http.StatusInternalServerError
}

// toLogin leads whoever is not logged in to the login, and from there back.
func (s *site) toLogin(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		s.show(w, r, view{}, &mistake{http.StatusUnauthorized,
			"You are no longer logged in, and nothing was changed. Log in and try again."},
			access.Identity{}, false)
		return
	}
	next := r.URL.Path
	if r.URL.RawQuery != "" {
		next += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, s.base+"/login?"+url.Values{"next": {next}}.Encode(), http.StatusSeeOther)
}

// ours is a path that a form may lead back to: one of this page, and nothing that a browser takes for another
// host.
func ours(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// loginForm shows the login.
func (s *site) loginForm(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.who(r); ok {
		http.Redirect(w, r, s.base+ours(r.URL.Query().Get("next")), http.StatusSeeOther)
		return
	}
	s.render(w, http.StatusOK, &view{template: "login", Title: "Log in", Base: s.base,
		Data: loginData{Next: ours(r.URL.Query().Get("next"))}})
}

// loginData is what the login shows.
type loginData struct{ Next, Error string }

// login begins a session for a token.
func (s *site) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	token, next := strings.TrimSpace(r.PostFormValue("token")), ours(r.PostFormValue("next"))
	who, ok := s.o.Authorize(token)
	if !ok || !who.May(access.Read) {
		s.o.Log.Warn("a login to the page was refused", "from", r.RemoteAddr)
		text := "This token is unknown, revoked or expired."
		if ok {
			text = "This token lacks the right to read, which the page needs."
		}
		s.render(w, http.StatusUnauthorized, &view{template: "login", Title: "Log in", Base: s.base,
			Data: loginData{Next: next, Error: text}})
		return
	}
	s.sessions.Begin(w, r, proxy.HTTPS(r), login{token})
	s.o.Log.Info("logged in to the page", "by", who.Name, "from", r.RemoteAddr)
	http.Redirect(w, r, s.base+next, http.StatusSeeOther)
}

// logout ends the session.
func (s *site) logout(w http.ResponseWriter, r *http.Request) {
	s.sessions.End(w, r, proxy.HTTPS(r))
	http.Redirect(w, r, s.base+"/login", http.StatusSeeOther)
}
