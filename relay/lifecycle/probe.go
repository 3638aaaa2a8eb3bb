package lifecycle

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// The paths of the probes.
const (
	LivePath  = "/livez"
	ReadyPath = "/readyz"
)

// probeTimeout is how long a probe waits for the spool. Its answer says what it waited for, so it must come
// before the one who asks has gone.
const probeTimeout = 4 * time.Second

// Probe is the answer to a probe.
type Probe struct {
	OK      bool     `json:"ok"`
	Phase   Phase    `json:"phase"`
	Reasons []string `json:"reasons,omitempty"` // why not
}

// Handle has mux answer the probes: 200 or 503, and a Probe either way.
func (l *Life) Handle(mux *http.ServeMux) {
	mux.HandleFunc("GET "+LivePath, answer(l, l.Live))
	mux.HandleFunc("GET "+ReadyPath, answer(l, l.Ready))
}

// answer asks, and says what is wrong.
func answer(l *Life, ask func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		p, status := Probe{OK: true, Phase: l.Phase()}, http.StatusOK
		if err := ask(ctx); err != nil {
			p.OK, status = false, http.StatusServiceUnavailable
			p.Reasons = strings.Split(err.Error(), "\n")
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(p) // a client that went away needs no answer
	}
}
