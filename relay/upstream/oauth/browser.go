package oauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// browse is a login in a browser on its way: what only we know of it.
type browse struct {
	redirect, state, verifier string
}

func newBrowse(redirect string) browse {
	return browse{redirect: redirect, state: rand.Text(), verifier: oauth2.GenerateVerifier()}
}

// address is the URL to open (RFC 6749, 4.1.1, with PKCE, RFC 7636).
func (l *Login) address(b browse) string {
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(b.verifier)}
	if l.Offline { // Google gives a refresh token only if the person is asked for consent
		options = append(options, oauth2.AccessTypeOffline, oauth2.ApprovalForce)
	}
	if l.User != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", l.User))
	}
	conf := l.config(b.redirect)
	return conf.AuthCodeURL(b.state, options...)
}

// exchange turns the code into tokens.
func (l *Login) exchange(ctx context.Context, b browse, code string) (LoggedIn, error) {
	return l.finish(ctx, url.Values{"grant_type": {"authorization_code"}, "code": {code},
		"redirect_uri": {b.redirect}, "code_verifier": {b.verifier}})
}

// Browser logs in in a browser on this machine, which is sent back to a port of ours (RFC 8252, 7.3). show
// is called once, with the URL to open.
func (l *Login) Browser(ctx context.Context, show func(address string)) (LoggedIn, error) {
	listeners, port, err := listenLoopback()
	if err != nil {
		return LoggedIn{}, fmt.Errorf("no port for the redirect: %w", err)
	}
	// "localhost", not an address: Microsoft ignores the port only for that name
	b := newBrowse("http://localhost:" + strconv.Itoa(port))
	results := make(chan redirected, 1)
	srv := &http.Server{Handler: landing(b.state, results), ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	for _, ln := range listeners {
		go srv.Serve(ln)
	}
	defer srv.Close()
	show(l.address(b))
	select {
	case <-ctx.Done():
		return LoggedIn{}, ctx.Err()
	case r := <-results:
		if r.err != nil {
			return LoggedIn{}, r.err
		}
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		srv.Shutdown(limited) // the browser gets its page
		return l.exchange(ctx, b, r.code)
	}
}

// listenLoopback listens on one port of this machine's own addresses. "localhost" may be either of them.
func listenLoopback() ([]net.Listener, int, error) {
	four, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	port := four.Addr().(*net.TCPAddr).Port
	all := []net.Listener{four}
	if six, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port))); err == nil {
		all = append(all, six)
	}
	return all, port, nil
}

// redirected is what a redirect brought.
type redirected struct {
	code string
	err  error
}

// landing is the page that the browser is sent to. A request of another origin, with another state, is
// answered and ignored.
func landing(state string, results chan<- redirected) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the code
		query := r.URL.Query()
		if r.URL.Path != "/" || query.Get("state") != state {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "This address does not belong to the login that mailwhy waits for.\n")
			return
		}
		code, err := readRedirect(query, state)
		select {
		case results <- redirected{code, err}:
		default: // the first answer counts
		}
		if err != nil {
			io.WriteString(w, "The login failed. mailwhy says why.\n")
			return
		}
		io.WriteString(w, "The login is done. You can close this page.\n")
	}
}

// pasteRedirect is where a browser on another machine is sent to: nobody answers there, and the address
// stays in the browser's address bar.
const pasteRedirect = "http://localhost"

// Paste logs in in a browser on another machine: the person copies the address that the browser was sent to.
// show is called once, with the URL to open; read returns what was pasted.
func (l *Login) Paste(ctx context.Context, show func(address string), read func() (string, error)) (LoggedIn,
	error) {
	b := newBrowse(pasteRedirect)
	show(l.address(b))
	pasted, err := read()
	if err != nil {
		return LoggedIn{}, err
	}
	u, err := url.Parse(strings.TrimSpace(pasted))
	if err != nil || u.RawQuery == "" { // the error would quote the code
		return LoggedIn{}, errors.New("not a valid address: paste all of what the browser shows, from " +
			"http:// on")
	}
	code, err := readRedirect(u.Query(), b.state)
	if err != nil {
		return LoggedIn{}, err
	}
	return l.exchange(ctx, b, code)
}
