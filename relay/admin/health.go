package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Health is how the relay is.
type Health struct {
	OK      bool              `json:"ok"`
	Reasons []string          `json:"reasons,omitempty"` // why it is not
	Notes   []string          `json:"notes,omitempty"`   // what an operator should know all the same
	Spool   SpoolHealth       `json:"spool,omitzero"`
	Lanes   []relay.LaneState `json:"lanes,omitempty"`
	// Members are the live relays of the cluster, this one too; nil where there is none, or none answers.
	Members []relay.Member `json:"members,omitempty"`
	// Feedback is what came back after the 250; nil where it is off or its store cannot be used.
	Feedback *Backlog `json:"feedback,omitempty"`
}

// SpoolHealth is what the spool says of itself.
type SpoolHealth struct {
	relay.SpoolStat
	*relay.LocalStat // nil for a spool that is not on this host
}

// statTimeout is how long the spool may take to answer.
const statTimeout = 5 * time.Second

// health answers GET /v1/health. An upstream that cannot be reached does not make the relay unhealthy: mail
// is taken and waits, and a restart would cure nothing.
func (s *Server) health(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), statTimeout)
	defer cancel()
	h := Health{Lanes: s.o.Control.Lanes(), Reasons: s.o.Control.Faults(), Notes: s.o.Control.Notes()}
	var err error
	if h.Spool, err = s.spoolHealth(ctx); err != nil {
		h.Reasons = append(h.Reasons, "the spool does not answer: "+err.Error())
	}
	for i := range h.Lanes {
		h.Notes = append(h.Notes, laneNotes(&h.Lanes[i])...)
	}
	if l := h.Spool.LocalStat; l != nil && l.Quarantined > 0 {
		h.Notes = append(h.Notes, fmt.Sprintf(
			"%d damaged messages are set aside in the spool; the delivery log names them", l.Quarantined))
	}
	if s.o.Members != nil {
		if h.Members, err = s.o.Members(ctx); err != nil {
			h.Notes = append(h.Notes,
				"the cluster does not answer, so soon nothing more is sent: "+err.Error())
		}
	}
	if s.o.Feedback != nil {
		s.feedbackHealth(ctx, &h)
	}
	h.Notes = append(h.Notes, s.webhookNotes()...)
	h.Notes = append(h.Notes, s.suppressionNotes()...)
	if s.o.TokensFault != nil {
		if err := s.o.TokensFault(); err != nil {
			h.Notes = append(h.Notes, "no token is accepted: "+err.Error())
		}
	}
	h.OK = len(h.Reasons) == 0
	if !h.OK {
		return withStatus{http.StatusServiceUnavailable, h}, nil
	}
	return h, nil
}

// backlogLate is for how long a report may wait to be processed. Under full load it is seconds.
const backlogLate = 5 * time.Minute

// feedbackHealth says what came back and waits. None of it makes the relay unhealthy: mail flows, and a
// restart would cure nothing.
func (s *Server) feedbackHealth(ctx context.Context, h *Health) {
	if err := s.o.Feedback.Fault(); err != nil {
		h.Notes = append(h.Notes, "nothing that comes back is taken: "+err.Error())
		return
	}
	b, err := s.o.Feedback.Backlog(ctx)
	if err != nil {
		h.Notes = append(h.Notes, "the store of feedback does not answer: "+err.Error())
		return
	}
	h.Feedback = &b
	if b.Due > 0 && s.o.Now().Sub(b.Oldest) > backlogLate {
		h.Notes = append(h.Notes, fmt.Sprintf("feedback is behind: %d reports are to be processed, the "+
			"oldest since %s; the log says what fails, or more comes back than there is time for", b.Due,
			b.Oldest.UTC().Format(time.RFC3339)))
	}
}

// spoolHealth asks the spool.
func (s *Server) spoolHealth(ctx context.Context) (h SpoolHealth, err error) {
	if h.SpoolStat, err = s.o.Queue.Stat(ctx); err != nil {
		return h, err
	}
	if on, ok := s.o.Queue.(relay.LocalSpool); ok {
		local, err := on.Local()
		h.LocalStat = &local
		return h, err
	}
	return h, nil
}

// laneNotes say of a lane that does not run as it may since when and why, and the same of its paused senders.
func laneNotes(l *relay.LaneState) (notes []string) {
	switch {
	case l.Paused:
		notes = append(notes, "upstream "+l.Name+" is paused"+since(l.Since, l.Diagnosis))
	case l.Slowed:
		notes = append(notes, "upstream "+l.Name+" is slowed, to "+speed(l)+since(l.Since, l.Diagnosis))
	}
	for i := range l.Senders {
		s := &l.Senders[i]
		notes = append(notes, "mail of "+s.Sender+" waits for upstream "+l.Name+since(s.Since, s.Diagnosis))
	}
	return notes
}

// since says since when and why.
func since(t time.Time, d *diagnose.Diagnosis) string {
	text := " since " + t.UTC().Format(time.RFC3339)
	if d != nil {
		text += ": " + d.Cause
	}
	return text
}

// speed says how much a slowed lane sends at most.
func speed(l *relay.LaneState) string {
	text := fmt.Sprintf("%d connections", l.Limit)
	if l.Limit == 1 {
		text = "1 connection"
	}
	if l.Rate > 0 {
		text = fmt.Sprintf("%v messages a second over ", relay.RoundRate(l.Rate)) + text
	}
	return text
}
