package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook/limit"
)

// Journal keeps reports until they have had their effect. It is safe for concurrent use.
type Journal interface {
	// Append makes a report durable: when it returns nil, the report survives a crash of the process and of
	// the machine. It returns when ctx is done; a report whose Append failed may be in the journal all the
	// same, and comes again. It keeps no reference to raw.
	Append(ctx context.Context, raw *feedback.Raw) error
}

// Result is what became of a request.
type Result string

// The results.
const (
	ResultTaken     Result = "taken"     // in the journal
	ResultUndecided Result = "undecided" // in the journal, to be proved
	ResultSetUp     Result = "set_up"    // it set up the webhook, and was answered
	ResultUnproven  Result = "unproven"
	ResultTooLarge  Result = "too_large"
	ResultCut       Result = "cut"     // its body did not come, or not in time
	ResultLimited   Result = "limited" // not examined: its client sent too many without proof
	ResultFailed    Result = "failed"  // the journal or the set-up failed, or there is no slot: again later
)

// Handler is the door for one webhook. Its fields are set before it is used, all of them.
type Handler struct {
	Hook    *Hook
	Journal Journal
	MaxBody int64 // bytes of a request's body
	// Timeout is when a request is answered at the latest, but for what the answer itself takes. A quarter of
	// it at least is the journal's.
	Timeout time.Duration
	Now     func() time.Time
	// Slots bounds the requests that are read at a time, since their bodies are held in memory: each takes a
	// slot, by sending. Handlers share it.
	Slots chan struct{}
	// Limit bounds what each client may send without proof. Handlers share it.
	Limit *limit.Limit
	// Record hears of each request but HEAD, for the log and metrics. The error is nil if all went well; it
	// holds no secret, but may quote what a stranger sent.
	Record func(Result, error)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
	case http.MethodHead:
		hangUp(w)
		w.WriteHeader(http.StatusOK)
		return
	default:
		hangUp(w)
		w.Header().Set("Allow", "HEAD, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	client := limit.Client(r)
	if wait := h.Limit.Wait(client); wait > 0 {
		h.Record(ResultLimited, fmt.Errorf("too many requests without proof came from %s", client))
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds())))) // RFC 9110, 10.2.3
		h.answer(w, nil, ResultLimited)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.Timeout)
	defer cancel()
	answer, result, err := h.take(ctx, w, r)
	switch result {
	case ResultUnproven, ResultTooLarge, ResultCut:
		h.Limit.Failed(client)
	case ResultTaken, ResultSetUp:
		h.Limit.Proved(client)
	}
	h.Record(result, err)
	h.answer(w, answer, result)
}

// take reads, proves and keeps a request.
func (h *Handler) take(ctx context.Context, w http.ResponseWriter, r *http.Request) ([]byte, Result, error) {
	select {
	case h.Slots <- struct{}{}:
		defer func() { <-h.Slots }()
	case <-ctx.Done():
		return nil, ResultFailed, errors.New("too many requests at a time")
	}
	body, err := h.body(w, r)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, ResultTooLarge, fmt.Errorf("the body has more than %d bytes", tooLarge.Limit)
	} else if err != nil {
		return nil, ResultCut, fmt.Errorf("reading the body: %w", err)
	}
	request := &Request{Header: r.Header, Query: r.URL.Query(), Body: body}
	raw := h.Hook.raw(request, h.Now())
	proof, cancel := context.WithTimeout(ctx, h.Timeout/4)
	defer cancel()
	doubt := h.Hook.Prove(proof, request, raw.Time)
	if errors.Is(doubt, ErrUnproven) {
		return nil, ResultUnproven, doubt
	}
	if g, ok := h.Hook.provider.(greeter); ok && g.greets(request) {
		return greet(ctx, g, request, doubt)
	}
	raw.Unproven = doubt != nil
	if err := h.Journal.Append(ctx, raw); err != nil {
		return nil, ResultFailed, fmt.Errorf("journal: %w", err)
	}
	if raw.Unproven {
		return nil, ResultUndecided, doubt
	}
	return nil, ResultTaken, nil
}

// greet answers a request that sets up the webhook, but for one whose origin is in doubt: it comes again.
func greet(ctx context.Context, g greeter, r *Request, doubt error) ([]byte, Result, error) {
	if doubt != nil {
		return nil, ResultFailed, doubt
	}
	answer, err := g.greet(ctx, r)
	if err != nil {
		return nil, ResultFailed, fmt.Errorf("setting up the webhook: %w", err)
	}
	return answer, ResultSetUp, nil
}

// body reads the request's body, for half of the time that there is.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Where the connection has no deadlines, as in a test, the server's own have to do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.Timeout / 2))
	return io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
}

// hangUp has the connection closed after the answer: only who has proved something may keep one of the few
// that there are.
func hangUp(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

// answer writes the answer that the provider understands.
func (h *Handler) answer(w http.ResponseWriter, body []byte, result Result) {
	code := h.Hook.kind.later
	switch result {
	case ResultTaken, ResultUndecided, ResultSetUp:
		code = http.StatusOK
	case ResultUnproven:
		code = h.Hook.kind.refused
	case ResultLimited:
		code = h.Hook.kind.limited()
	}
	if code != http.StatusOK {
		hangUp(w)
	}
	if code == http.StatusUnauthorized { // RFC 9110, 15.5.2
		w.Header().Set("WWW-Authenticate", `Basic realm="webhook"`)
	}
	if body != nil {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(code)
	w.Write(body)
}
