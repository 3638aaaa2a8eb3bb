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
	u := url.URL{Scheme: "http", Host: "mailwhy", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), send)
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
	var p problem
	if err := newAnswer(resp.Body).next(&p); err != nil || p.Error == "" {
		p.Error = "the relay answered " + resp.Status
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
	body, err := c.do(ctx, http.MethodGet, "/queue", query(f))
	if err != nil {
		return err
	}
	return decodeLines(body, each)
}

// Show returns the whole of a message; an error that wraps relay.ErrNotFound when there is none.
func (c *Client) Show(ctx context.Context, id string) (*Shown, error) {
	body, err := c.do(ctx, http.MethodGet, "/queue/"+url.PathEscape(id), nil)
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
	q := query(f)
	if all {
		q.Set("all", "true")
	}
	body, err := c.do(ctx, http.MethodPost, "/queue/"+string(a), q)
	if err != nil {
		return err
	}
	return decodeLines(body, each)
}

// decodeLines reads an answer of JSON lines. A line that is a problem ends it.
func decodeLines[T any](body io.ReadCloser, each func(T) error) error {
	defer body.Close()
	in := newAnswer(body)
	for {
		var line json.RawMessage
		if err := in.next(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("the relay's answer broke off: %w", err)
		}
		var p struct {
			problem
			ID string `json:"id"`
		}
		if json.Unmarshal(line, &p) == nil && p.Error != "" && p.ID == "" {
			return errors.New(p.Error)
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		if err := each(v); err != nil {
			return err
		}
	}
}
