package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"mailwhy/relay"
)

// Health is how the relay is.
type Health struct {
	OK      bool              `json:"ok"`
	Reasons []string          `json:"reasons,omitempty"` // why it is not
	Notes   []string          `json:"notes,omitempty"`   // what an operator should know all the same
	Spool   relay.SpoolStat   `json:"spool,omitzero"`
	Lanes   []relay.LaneState `json:"lanes,omitempty"`
}

// statTimeout is how long the spool may take to answer.
const statTimeout = 5 * time.Second

// health answers GET /health. An upstream that is out of reach is no ill health of the relay: mail is taken and waits,
// and a restart would cure nothing.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statTimeout)
	defer cancel()
	h := Health{Lanes: s.o.Control.Lanes(), Reasons: s.o.Control.Troubles()}
	stat, err := s.o.Queue.Stat(ctx)
	if err != nil {
		h.Reasons = append(h.Reasons, "the spool does not answer: "+err.Error())
	}
	h.Spool = stat
	for _, l := range h.Lanes {
		if note := laneNote(l); note != "" {
			h.Notes = append(h.Notes, note)
		}
	}
	if n := stat.Quarantined; n > 0 {
		h.Notes = append(h.Notes, fmt.Sprintf("%d damaged messages are set aside in the spool; the delivery log names them", n))
	}
	h.OK = len(h.Reasons) == 0
	code := http.StatusOK
	if !h.OK {
		code = http.StatusServiceUnavailable
	}
	reply(w, code, h)
}

// laneNote says of a paused lane since when and why.
func laneNote(l relay.LaneState) string {
	if !l.Paused {
		return ""
	}
	note := "upstream " + l.Name + " is paused since " + l.Since.UTC().Format(time.RFC3339)
	if l.Diagnosis != nil {
		note += ": " + l.Diagnosis.Cause
	}
	return note
}
