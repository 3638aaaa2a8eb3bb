// Package page is the relay's web page: what it does now, why mail fails, the queue, single messages, and the
// actions of an operator.
//
// relay/app makes one Page and serves it in two places: at page.listen, where whoever comes must log in, and
// under /page/ of the control socket, whose users may do everything. It asks the running relay as the command
// line does, through an admin.Client; a relay.History adds what is no longer in the queue.
//
// # The pages
//
//	GET  /                     how the relay is now, and the last events
//	GET  /failures             refusals by category and reason
//	GET  /queue?FILTER         the queue; /queue/confirm?action= names what an action would change
//	GET  /message/ID           a message; /search?q= finds one by id or recipient
//	GET  /upstreams            how they stand
//	GET  /suppressions?FILTER  the suppression list
//	GET  /webhooks             how they stand
//	GET  /explain              a form; POST shows the diagnosis of a reply
//	GET  /configuration        what is in force, and from where
//	GET  /events               tells that something changed (server-sent events)
//	POST ...                   the actions, each behind a page that says what it will do
//
// # What always holds
//
//   - A GET changes nothing. A POST needs a session with the right to write, or a proxy's user with it, and
//     passes package guard; whoever may only read sees no action and is refused one.
//   - Everything that a stranger wrote goes through html/template and Shown: it is text, never markup, and
//     what is invisible or reorders text is spelled out. It is in no header and no script.
//   - The pages work without scripts. The one script asks for the page again when the server says that
//     something changed, and puts the new content in place of the old.
//   - The state is the relay's. The page keeps sessions only, and they end with it.
package page

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/admin/guard"
	"mailwhy/relay/admin/page/proxy"
	"mailwhy/relay/admin/page/session"
	"mailwhy/relay/internal/httpserver"
)

// Options are what a Page is made of. All are required but those that say so.
type Options struct {
	Relay    *admin.Client
	History  relay.History // nil: there is none
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	// Probe makes a paused upstream be tried now, and messages that are due; "" stands for all upstreams.
	Probe func(name string)

	// Upstreams are the configured ones, by name; Configuration is all of it, secrets redacted; Warnings are
	// what is allowed but unwise in it.
	Upstreams     func() []Upstream
	Configuration func() []Setting
	Warnings      func() []string
	// Import adds the entries of a suppression list. It is not called while suppression is off.
	Import func(ctx context.Context, in io.Reader, o admin.ImportOptions) (admin.Imported, error)

	Authorize func(token string) (access.Identity, bool) // checked again at each request

	Path       string         // prefix of all paths: "", or "/mail"
	Hosts      []string       // names by which it may be asked for, besides localhost
	Proxies    []netip.Prefix // whose headers are believed
	AuthHeader string         // in which they name the user; "": in none
	Writers    []string       // such users who may change things; "*" stands for all
	Idle, Max  time.Duration  // of a session

	Version string
	Log     *slog.Logger
	Now     func() time.Time
}

// Upstream is an upstream as it is configured.
type Upstream struct {
	Name, Where string // the host and port, or the endpoint
	Connections int
	Rate        string
	DailyCap    int
}

// Setting is a setting in force. An empty Origin is a default.
type Setting struct {
	Section, Key, Value, Origin string
}

// Page is the page.
type Page struct {
	o         Options
	guard     *guard.Guard // of page.listen
	operated  *guard.Guard // of the control socket
	proxies   proxy.Proxies
	sessions  *session.Sessions[login]
	templates func() (templates, error) // read at the first request
	streams   chan struct{}             // slots
	closing   chan struct{}
	once      sync.Once
}

// login is what a session is about.
type login struct{ token string }

// streamsMost is how many browsers can follow the page live.
const streamsMost = 64

// New makes a Page.
func New(o Options) (*Page, error) {
	o.Path = strings.TrimSuffix(o.Path, "/")
	p := &Page{o: o, templates: sync.OnceValues(parse),
		proxies:  proxy.Proxies{Networks: o.Proxies, AuthHeader: o.AuthHeader},
		sessions: session.New[login](session.Options{Idle: o.Idle, Max: o.Max, Now: o.Now}),
		streams:  make(chan struct{}, streamsMost), closing: make(chan struct{})}
	var err error
	if p.guard, err = newGuard(o.Hosts, "page.hosts"); err != nil {
		return nil, err
	}
	p.operated, err = newGuard([]string{"mailwhy"}, "")
	return p, err
}

// policy is the Content-Security-Policy of every answer: no script, style, form or frame is of use that is
// not the page's own.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// newGuard makes the guard of the page where it is called hosts.
func newGuard(hosts []string, hostsIn string) (*guard.Guard, error) {
	return guard.New(guard.Options{Hosts: hosts, HostsIn: hostsIn, Loopback: true, Policy: policy,
		Refuse: guard.Text})
}

// ownOnly has no other site show what is answered.
func ownOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// Handler answers for page.listen: who comes must log in, unless a trusted proxy names the user.
func (p *Page) Handler() http.Handler {
	return ownOnly(p.guard.Wrap(p.proxies.Wrap(p.routes(p.o.Path, p.visitor))))
}

// Operated answers on the control socket, below path: whoever can open that may do everything. A browser gets
// there through a tunnel, as localhost.
func (p *Page) Operated(path string) http.Handler {
	nobody := proxy.Proxies{} // stands in front of a socket
	return ownOnly(p.operated.Wrap(nobody.Wrap(p.routes(path,
		func(*http.Request) (who access.Identity, session, ok bool) {
			return access.Operator(), false, true
		}))))
}

// identify says who sends a request, and whether a session does.
type identify func(*http.Request) (who access.Identity, session, ok bool)

// visitor is whoever has logged in, or a trusted proxy has let in. A token that was revoked ends its session.
func (p *Page) visitor(r *http.Request) (who access.Identity, session, ok bool) {
	if user := p.proxies.User(r); user != "" {
		who = access.Identity{Name: user, Scopes: []access.Scope{access.Read}}
		for _, w := range p.o.Writers {
			if w == "*" || w == user {
				who.Scopes = []access.Scope{access.Write}
			}
		}
		return who, false, true
	}
	_, ok = p.sessions.Find(r, proxy.HTTPS(r), func(l login) bool {
		var good bool
		who, good = p.o.Authorize(l.token)
		return good && who.May(access.Read)
	})
	return who, true, ok
}

// site is the pages below one path, for one kind of visitors.
type site struct {
	*Page
	base string
	who  identify
}

// routes makes the handler of a site.
func (p *Page) routes(base string, who identify) http.Handler {
	s := &site{p, base, who}
	mux := http.NewServeMux()
	for pattern, show := range map[string]page{
		"GET /{$}": s.now, "GET /failures": s.failures, "GET /queue": s.queue,
		"GET /message/{id}": s.message, "GET /search": s.search,
		"GET /upstreams": s.upstreams, "GET /suppressions": s.suppressions, "GET /webhooks": s.webhooks,
		"GET /explain": s.explain, "GET /configuration": s.configuration, "POST /explain": s.explain,
	} {
		mux.HandleFunc(pattern, s.read(show))
	}
	for pattern, do := range map[string]page{
		"GET /queue/confirm": s.confirm, "POST /queue/act": s.act,
		"GET /upstreams/probe": s.confirmProbe, "POST /upstreams/probe": s.probe,
		"POST /suppressions/add": s.suppress, "GET /suppressions/remove": s.confirmRemove,
		"POST /suppressions/remove": s.unsuppress, "POST /suppressions/import": s.importList,
		"GET /webhooks/{name}/{action}":  s.confirmWebhook,
		"POST /webhooks/{name}/{action}": s.actOnWebhook,
	} {
		mux.HandleFunc(pattern, s.write(do))
	}
	mux.HandleFunc("/", s.read(nothing))
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /assets/{name}", s.asset)
	mux.HandleFunc("GET /login", s.loginForm)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	return below(base, mux)
}

// below has a handler answer below base, and base itself lead there. A mux that saw only the rest of the path
// would clean it, and lead out of base.
func below(base string, h http.Handler) http.Handler {
	if base == "" {
		return h
	}
	mux := http.NewServeMux()
	mux.Handle(base+"/", http.StripPrefix(base, h))
	return mux
}

// Serve answers on l until ctx ends. Live streams end at once then, and requests have a few seconds.
func (p *Page) Serve(ctx context.Context, l net.Listener) error {
	server := http.Server{
		Handler:           p.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute, // a stream moves its own
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug), // what strangers do wrong
	}
	return httpserver.Serve(ctx, &server, l, p.Close)
}

// Close ends the live streams.
func (p *Page) Close() { p.once.Do(func() { close(p.closing) }) }
