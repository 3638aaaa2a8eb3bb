// Package hook is an application that takes events from the relay under test, and can be killed and started
// again: it keeps what it was sent, and checks signatures and order.
package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Secret is what the relay signs with.
const Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// Receiver is the application. Its methods are safe for concurrent use.
type Receiver struct {
	addr   string
	verify *standardwebhooks.Webhook
	server *http.Server
	served chan error

	mu       sync.Mutex
	attempts map[string]int          // the highest attempt that a message was told of
	ids      map[key]map[string]bool // of the events of a message
	got      int
	broken   []string
}

// key is a message and what happened to it.
type key struct{ message, event string }

// New makes a receiver that will listen on addr.
func New(addr string) (*Receiver, error) {
	v, err := standardwebhooks.NewWebhook(Secret)
	return &Receiver{addr: addr, verify: v, attempts: map[string]int{}, ids: map[key]map[string]bool{}}, err
}

// Start lets it listen.
func (r *Receiver) Start() error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", r.addr)
	if err != nil {
		return err
	}
	server, served := &http.Server{Handler: r}, make(chan error, 1)
	r.server, r.served = server, served
	go func() { served <- server.Serve(l) }()
	return nil
}

// Kill ends it at once, whatever is under way.
func (r *Receiver) Kill() {
	r.server.Close()
	<-r.served
}

// ServeHTTP takes an event.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // it is being killed
	}
	var e struct {
		Data struct {
			ID      string `json:"id"`
			Event   string `json:"event"`
			Attempt int    `json:"attempt"`
		} `json:"data"`
	}
	err = r.verify.Verify(body, req.Header)
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.broken = append(r.broken, fmt.Sprintf("%v: %s", err, body))
		return
	}
	r.got++
	m, k := e.Data.ID, key{e.Data.ID, e.Data.Event}
	if e.Data.Attempt > r.attempts[m]+1 {
		r.broken = append(r.broken, fmt.Sprintf("message %s: attempt %d after %d", m, e.Data.Attempt,
			r.attempts[m]))
	}
	r.attempts[m] = max(r.attempts[m], e.Data.Attempt)
	if r.ids[k] == nil {
		r.ids[k] = map[string]bool{}
	}
	r.ids[k][req.Header.Get("webhook-id")] = true
	w.WriteHeader(http.StatusNoContent)
}

// IDs is how many different ids the events of this name about a message had: 0 when none came.
func (r *Receiver) IDs(message, event string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids[key{message, event}])
}

// Result is how many events came, duplicates included, and what was wrong with any.
func (r *Receiver) Result() (got int, broken []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got, r.broken
}
