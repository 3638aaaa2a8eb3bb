package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/upstream"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// Request is a request with its body.
type Request struct {
	Method, URL string
	Header      http.Header
	Length      int64                         // of the body
	Body        func() (io.ReadCloser, error) // may be called again, for a connection that turns out dead
	// Sign is called last, if it is set, since signatures age.
	Sign func(*http.Request) error
}

// Answer is the answer to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // cut at 64 KiB
	Cut    bool   // the body could not be read to its end
	Way
}

// Way is how an exchange went.
type Way struct {
	Remote string // address and port
	TLS    string // version; empty in clear
}

// Failure is a call without an answer.
type Failure struct {
	Stage   diagnose.Stage // of SMTP, to which the point corresponds
	NetErr  diagnose.NetErr
	Sent    bool  // the whole request was written
	Content error // why the content could not be read
	Way
}

// Error implements error.
func (f *Failure) Error() string { return f.NetErr.Text }

// Client makes calls. It is safe for concurrent use.
type Client struct {
	http     http.Client
	base     *http.Transport
	timeouts Timeouts
}

// NewClient makes a Client of the settings for connections in o, for any host.
func NewClient(o Options) (*Client, error) {
	o.setHooks()
	conf, err := o.TLS.Config("", true)
	if err != nil {
		return nil, err
	}
	c := &Client{timeouts: o.Timeouts, base: &http.Transport{
		DialContext:           o.dial,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   o.Timeouts.Connect,
		ResponseHeaderTimeout: o.Timeouts.EndOfData,
		IdleConnTimeout:       o.MaxIdle,
		DisableKeepAlives:     o.MaxIdle <= 0,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   o.Connections,
	}}
	c.http = http.Client{Transport: c.base, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // it would send credentials and mail to another host
	}}
	return c, nil
}

// dial connects, with limits for that and for each write.
func (o *Options) dial(ctx context.Context, network, address string) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, o.Timeouts.Connect)
	defer cancel()
	c, err := o.Dial(limited, network, address)
	if err != nil {
		return nil, err
	}
	return &limitedConn{c, o.Timeouts.Write}, nil
}

// limitedConn has a limit for each write.
type limitedConn struct {
	net.Conn
	write time.Duration
}

func (c *limitedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close closes the idle connections.
func (c *Client) Close() { c.base.CloseIdleConnections() }

// Call makes a call that sends no mail, within the limit for a command. Its error is a *Failure.
func (c *Client) Call(ctx context.Context, r *Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeouts.Command)
	defer cancel()
	return c.Do(ctx, r)
}

// Do makes a call. Its error is a *Failure, or what r.Sign returned.
func (c *Client) Do(ctx context.Context, r *Request) (*Answer, error) {
	w := &watch{}
	req, err := r.build(httptrace.WithClientTrace(ctx, w.trace()), w)
	if err != nil {
		return nil, &Failure{Stage: diagnose.StageQueue, Content: err,
			NetErr: diagnose.NetErr{Kind: diagnose.NetLocal, Text: err.Error()}}
	}
	if r.Sign != nil {
		if err := r.Sign(req); err != nil {
			return nil, err
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, w.failure(ctx, err)
	}
	defer resp.Body.Close()
	stop := time.AfterFunc(c.timeouts.Command, func() { resp.Body.Close() })
	defer stop.Stop()
	// What cannot be read is missed: the status says already whether the mail was taken.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	w.mu.Lock()
	defer w.mu.Unlock()
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Cut: err != nil, Way: w.way}, nil
}

// build makes the request of net/http.
func (r *Request) build(ctx context.Context, w *watch) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "mailwhy")
	if r.Body == nil {
		return req, nil
	}
	open := func() (io.ReadCloser, error) {
		body, err := r.Body()
		if err != nil {
			w.unread(err)
			return nil, err
		}
		return &content{body, w}, nil
	}
	req.ContentLength, req.GetBody = r.Length, open
	req.Body, err = open()
	return req, err
}

// content is a body whose errors are told apart from those of the connection.
type content struct {
	io.ReadCloser
	w *watch
}

func (c *content) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if err != nil && err != io.EOF {
		c.w.unread(err)
	}
	return n, err
}

// watch sees how far a call got. net/http calls it from several goroutines.
type watch struct {
	mu        sync.Mutex
	way       Way
	connected bool
	handshake bool
	sent      bool
	content   error
}

func (w *watch) unread(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.content = err
}

func (w *watch) trace() *httptrace.ClientTrace {
	locked := func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	}
	return &httptrace.ClientTrace{
		TLSHandshakeStart: func() { locked(func() { w.handshake = true }) },
		GotConn: func(i httptrace.GotConnInfo) {
			locked(func() {
				w.connected, w.sent = true, false
				w.way = Way{Remote: i.Conn.RemoteAddr().String()}
				if t, ok := i.Conn.(*tls.Conn); ok {
					w.way.TLS = strings.ReplaceAll(tls.VersionName(t.ConnectionState().Version), " ", "")
				}
			})
		},
		WroteRequest: func(i httptrace.WroteRequestInfo) { locked(func() { w.sent = i.Err == nil }) },
	}
}

// failure says at which point a call failed, and why.
func (w *watch) failure(ctx context.Context, err error) *Failure {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &Failure{Stage: diagnose.StageConnect, Sent: w.sent, Content: w.content, Way: w.way}
	switch {
	case w.sent:
		f.Stage = diagnose.StageEndOfData
	case w.connected:
		f.Stage = diagnose.StageData
	case w.handshake:
		f.Stage = diagnose.StageTLS
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which the host says already
	}
	f.NetErr = upstream.NetErr(f.Stage, err)
	switch {
	case w.content != nil:
		f.Stage = diagnose.StageQueue
		f.NetErr = diagnose.NetErr{Kind: diagnose.NetLocal, Text: w.content.Error()}
	case errors.Is(context.Cause(ctx), context.Canceled):
		f.NetErr.Kind = diagnose.NetCanceled
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.NetErr.Kind = diagnose.NetTimeout
	}
	return f
}
