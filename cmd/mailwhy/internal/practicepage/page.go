// Package practicepage is the web page of `mailwhy practice`: it shows the mail that the practice upstream
// took, and lets a person choose what the upstream answers next.
//
// Page.Watch puts itself between the upstream and its Script: the answers that were chosen (answers.go) go
// before what recipients ask for, and what is taken is kept (box.go), newest first, within a number and a
// size.
//
// Mail is written by strangers, so what always holds:
//
//   - The HTML of a mail is shown in a frame with a sandbox and a policy of its own: no script runs, no form
//     is sent, nothing is loaded from elsewhere unless the person asks for remote images.
//   - Every other part of a mail is text, escaped by html/template, or a download.
//   - A request whose Host is not the page's own gets 421 (DNS rebinding), a request from another origin that
//     changes something 403, and a GET changes nothing.
//   - The page is reachable from this machine only, unless the person says otherwise; it has no password.
package practicepage

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/relay/smtptest"
)

// Options are the flags of the page. The zero Addr is no page.
type Options struct {
	Addr   string   // to listen on, host:port
	Remote bool     // an Addr that other machines reach is allowed
	Hosts  []string // names of the page besides its address and localhost
	Keep   int      // mails that are kept at most
	Bytes  int64    // of all of them together; a mail that is larger is cut off
}

// Register adds the flags to a command.
func (o *Options) Register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.Addr, "page", "", "`address` of a web page with the mail that was taken, host:port")
	f.BoolVar(&o.Remote, "page-remote", false,
		"allow a --page that other machines reach: whoever does can read the mail")
	f.StringArrayVar(&o.Hosts, "page-host", nil,
		"host `name` by which the page is opened; may be given several times")
	f.IntVar(&o.Keep, "page-keep", 500, "`number` of mails that the page keeps")
	o.Bytes = 64 << 20
}

// Page is a page and the mail that it shows. Its methods are safe for concurrent use.
type Page struct {
	o         Options
	box       *box
	answers   *answers
	templates *template.Template
	server    *http.Server
	listener  net.Listener
	ended     chan error
}

//go:embed templates assets
var files embed.FS

// New makes a page that does not listen yet.
func New(o Options) (*Page, error) {
	host, _, err := net.SplitHostPort(o.Addr)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--page: %w", err)
	case !o.Remote && !loopback(host):
		return nil, fmt.Errorf("--page: %s can be reached by other machines, and the page asks for no "+
			"password; write 127.0.0.1, or add --page-remote", o.Addr)
	case o.Keep < 1:
		return nil, fmt.Errorf("--page-keep: not above zero: %d", o.Keep)
	}
	p := &Page{o: o, box: newBox(o.Keep, o.Bytes), answers: &answers{}, ended: make(chan error, 1)}
	p.templates, err = template.New("").Funcs(functions()).ParseFS(files, "templates/*.html")
	return p, err
}

// loopback reports whether a host is this machine alone.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Watch makes the page see what an upstream with these options takes, and answer in the place of its Script.
func (p *Page) Watch(o *smtptest.Options) {
	o.Script = p.answers.before(o.Script)
	deliver := o.Deliver
	o.Deliver = func(m *smtptest.Message) error {
		if deliver != nil {
			if err := deliver(m); err != nil {
				return err
			}
		}
		p.box.put(m)
		return nil
	}
}

// Start listens, and serves until Close.
func (p *Page) Start() (err error) {
	handler, err := p.guard(p.routes())
	if err != nil {
		return err
	}
	if p.listener, err = net.Listen("tcp", p.o.Addr); err != nil {
		return fmt.Errorf("--page: %w", err)
	}
	p.server = &http.Server{
		Handler: handler, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	go func() { p.ended <- p.server.Serve(p.listener) }()
	return nil
}

// URL is where the page is; "" for no page.
func (p *Page) URL() string {
	if p == nil {
		return ""
	}
	return "http://" + p.listener.Addr().String() + "/"
}

// Close ends the page, if there is one that listens.
func (p *Page) Close() error {
	if p == nil || p.listener == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		p.server.Close()
	}
	if err := <-p.ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
