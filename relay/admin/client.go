package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"

	"mailwhy/relay"
)

// ErrNotRunning is returned by a Client when no relay answers on its socket.
var ErrNotRunning = errors.New("no relay is running")

// Client speaks to the Server of a running relay. It is safe for concurrent use.
type Client struct {
	socket string
	http   http.Client
}

// clientHost is what a Client calls the relay at the other end of its socket.
const clientHost = "mailwhy"

// NewClient makes a Client of the socket at path.
func NewClient(path string) *Client {
	c := &Client{socket: path}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	return c
}

// do sends a request and returns the answer's body, which the caller closes; an answer of an error is an
// error.
func (c *Client) do(
	ctx context.Context, method, path string, q url.Values, ok ...int,
) (io.ReadCloser, error) {
	return c.doWith(ctx, method, path, q, nil, ok...)
}

// doWith is do with a body.
func (c *Client) doWith(
	ctx context.Context, method, path string, q url.Values, send io.Reader, ok ...int,
) (io.ReadCloser, error) {
	u := "http://" + clientHost + path
	if !slices.Contains(unversioned(), path) {
		u = "http://" + clientHost + Version + path
	}
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, send)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.dialError(err)
	}
	if resp.StatusCode == http.StatusOK || slices.Contains(ok, resp.StatusCode) {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var p Problem
	if err := newAnswer(resp.Body).next(&p); err != nil || p.Error == "" {
		p.Error = "the relay answered " + resp.Status
	}
	if p.Hint != "" {
		p.Error += "; " + p.Hint
	}
	return nil, &answerError{resp.StatusCode, p.Error}
}

// answerError is an answer of the relay that is an error.
type answerError struct {
	status int
	text   string
}

// Error implements error.
func (e *answerError) Error() string { return e.text }

// StatusOf is the HTTP status of an answer of the relay that is an error; 0 if err is none.
func StatusOf(err error) int {
	if a, ok := errors.AsType[*answerError](err); ok {
		return a.status
	}
	return 0
}

// Is makes an answer of 404 an ErrNotFound.
func (e *answerError) Is(target error) bool {
	return target == relay.ErrNotFound && e.status == http.StatusNotFound
}

// dialError is ErrNotRunning when no relay answers, and otherwise what went wrong.
func (c *Client) dialError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: nothing answers at %s", ErrNotRunning, c.socket)
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return fmt.Errorf("control socket %s: %w", c.socket, err)
}

// Health asks how the relay is.
func (c *Client) Health(ctx context.Context) (h Health, err error) {
	body, err := c.do(ctx, http.MethodGet, "/health", nil, http.StatusServiceUnavailable)
	if err != nil {
		return h, err
	}
	defer body.Close()
	return h, newAnswer(body).next(&h)
}

// Probe asks /livez or /readyz. It returns the reasons of a relay that is not so, none of one that is.
func (c *Client) Probe(ctx context.Context, path string) (reasons []string, err error) {
	body, err := c.do(ctx, http.MethodGet, path, nil, http.StatusServiceUnavailable)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var answer struct {
		OK      bool     `json:"ok"`
		Reasons []string `json:"reasons"`
	}
	if err := newAnswer(body).next(&answer); err != nil {
		return nil, err
	}
	if !answer.OK && len(answer.Reasons) == 0 {
		return nil, errors.New("the relay answered no, and not why")
	}
	return answer.Reasons, nil
}

// List calls each for every message that f selects, until it returns an error.
func (c *Client) List(ctx context.Context, f relay.QueueFilter, each func(Summary) error) error {
	sel := newSelection(f)
	for left := f.Limit; ; {
		sel.Limit = pageOf(left)
		var page QueuePage
		if err := c.ask(ctx, http.MethodGet, "/queue", sel.query(), nil, &page); err != nil {
			return err
		}
		for i := range page.Messages {
			if err := each(page.Messages[i]); err != nil {
				return err
			}
		}
		sel.After = page.Next
		if left -= len(page.Messages); page.Next == "" || f.Limit > 0 && left <= 0 {
			return nil
		}
	}
}

// pageOf is the size of a page when left entries are wanted; 0 is all.
func pageOf(left int) int {
	if left <= 0 {
		return pageMost
	}
	return min(left, pageMost)
}

// Show returns the whole of a message; an error that wraps relay.ErrNotFound when there is none.
func (c *Client) Show(ctx context.Context, id string) (*Shown, error) {
	body, err := c.do(ctx, http.MethodGet, "/messages/"+url.PathEscape(id), nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	m := new(Shown)
	return m, newAnswer(body).next(m)
}

// Act does a to every message that f selects; all must be set when it selects all of them.
func (c *Client) Act(ctx context.Context, a Action, f relay.QueueFilter, all bool,
	each func(Outcome) error) error {
	sel := newSelection(f)
	sel.All = all
	for left := f.Limit; ; {
		sel.Limit = min(pageOf(left), pageDefault) // so that outcomes are seen soon
		body, err := json.Marshal(sel)
		if err != nil {
			return err
		}
		var page Outcomes
		if err := c.ask(ctx, http.MethodPost, "/queue/"+string(a), nil, body, &page); err != nil {
			return err
		}
		for i := range page.Outcomes {
			if err := each(page.Outcomes[i]); err != nil {
				return err
			}
		}
		sel.After = page.Next
		if left -= len(page.Outcomes); page.Next == "" || f.Limit > 0 && left <= 0 {
			return nil
		}
	}
}

// unversioned are the paths outside of /v1: what probes and Prometheus ask for.
func unversioned() []string { return []string{"/livez", "/readyz", "/metrics"} }
