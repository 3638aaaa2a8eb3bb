package admin

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Reports calls each for every report that f selects, until it returns an error.
func (c *Client) Reports(ctx context.Context, f ReportFilter, each func(Report) error) error {
	for f.Limit = pageMost; ; {
		var page ReportPage
		if err := c.ask(ctx, http.MethodGet, "/feedback", f.query(), nil, &page); err != nil {
			return err
		}
		for i := range page.Reports {
			if err := each(page.Reports[i]); err != nil {
				return err
			}
		}
		if f.After = page.Next; f.After == 0 {
			return nil
		}
	}
}

// Report returns one report, whole; an error that wraps relay.ErrNotFound when it is not there.
func (c *Client) Report(ctx context.Context, id int64) (r Report, err error) {
	err = c.ask(ctx, http.MethodGet, "/feedback/"+strconv.FormatInt(id, 10), nil, nil, &r)
	return r, err
}

// Replay lets the reports that f selects be looked at again, and returns how many.
func (c *Client) Replay(ctx context.Context, f ReportFilter) (int64, error) {
	var n Count
	err := c.ask(ctx, http.MethodPost, "/feedback/replay", f.query(), nil, &n)
	return n.Reports, err
}

// Erase removes what is remembered about an address; with act false it counts only.
func (c *Client) Erase(ctx context.Context, address string, act bool) (e Erased, err error) {
	q := url.Values{"address": {address}, "act": {strconv.FormatBool(act)}}
	err = c.ask(ctx, http.MethodPost, "/feedback/erase", q, nil, &e)
	return e, err
}

// EraseEvents removes the events of an address from the page's history; with act false it counts only.
func (c *Client) EraseEvents(ctx context.Context, address string, act bool) (e ErasedEvents, err error) {
	q := url.Values{"address": {address}, "act": {strconv.FormatBool(act)}}
	err = c.ask(ctx, http.MethodPost, "/events/erase", q, nil, &e)
	return e, err
}

// Take hands in what a provider told, for one of the webhooks.
func (c *Client) Take(ctx context.Context, webhook string, body []byte) error {
	return c.ask(ctx, http.MethodPost, "/feedback/take", url.Values{"webhook": {webhook}}, body, new(Count))
}

// Mail hands in a mail, and returns whether it was taken: a person's is not.
func (c *Client) Mail(ctx context.Context, content []byte) (taken bool, err error) {
	var m Mailed
	err = c.ask(ctx, http.MethodPost, "/feedback/mail", nil, content, &m)
	return m.Taken, err
}

// Send sends a test message for a webhook, and returns its queue id.
func (c *Client) Send(ctx context.Context, webhook, from, to string) (id string, err error) {
	var s Sent
	q := url.Values{"webhook": {webhook}, "from": {from}, "to": {to}}
	err = c.ask(ctx, http.MethodPost, "/feedback/send", q, nil, &s)
	return s.ID, err
}

// Remembered returns what is known of the messages with a queue id after they left the queue; an error that
// wraps relay.ErrNotFound when nothing is.
func (c *Client) Remembered(ctx context.Context, id string) (list []Remembered, err error) {
	var h History
	err = c.ask(ctx, http.MethodGet, "/messages/"+url.PathEscape(id)+"/history", nil, nil, &h)
	return h.Messages, err
}

// ask sends a request with a body and decodes the answer.
func (c *Client) ask(ctx context.Context, method, path string, q url.Values, send []byte, answer any) error {
	var in io.Reader
	if send != nil {
		in = bytes.NewReader(send)
	}
	body, err := c.doWith(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	defer body.Close()
	return newAnswer(body).next(answer)
}
