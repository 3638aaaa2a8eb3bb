package page

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin/access"
)

// The pace of a stream.
const (
	changesEvery = 500 * time.Millisecond // at most
	ticksEvery   = 10 * time.Second       // so that ages go on, and what is no event is seen
	writeTime    = 20 * time.Second       // that a browser has to take what it is sent
)

// events tells a browser that something changed, by server-sent events: it asks for its page again then. The
// number of the last event is the stream's id, so that a browser that comes back hears at once whether
// something happened meanwhile.
func (s *site) events(w http.ResponseWriter, r *http.Request) {
	who, _, ok := s.who(r)
	if !ok || !who.May(access.Read) {
		http.Error(w, "Log in first.", http.StatusUnauthorized)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		http.Error(w, "Too many pages are open with live updates.", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would keep it back
	st := stream{site: s, w: w, rc: http.NewResponseController(w)}
	st.rc.SetReadDeadline(time.Time{}) // the end of the request would otherwise be that of the stream
	st.follow(r)
}

// stream is one browser.
type stream struct {
	*site
	w    http.ResponseWriter
	rc   *http.ResponseController
	last int64 // number of the last event
}

// follow writes until the browser goes, the session ends or the page does.
func (st *stream) follow(r *http.Request) {
	var events <-chan relay.NumberedEvent
	if st.o.History != nil {
		var cancel func()
		events, cancel = st.o.History.Subscribe()
		defer cancel()
	}
	if !st.begin(r) {
		return
	}
	tick := time.NewTicker(ticksEvery)
	defer tick.Stop()
	var due <-chan time.Time
	for {
		ok := true
		select {
		case e := <-events:
			st.last = e.Number
			if due == nil {
				due = time.After(changesEvery)
			}
		case <-due:
			due = nil
			ok = st.send("changed")
		case <-tick.C:
			_, _, in := st.who(r) // who logged out sees no more
			ok = in && st.send("tick")
		case <-r.Context().Done():
			return
		case <-st.closing:
			return
		}
		if !ok {
			return
		}
	}
}

// begin says how long to wait before coming back, and whether something was missed.
func (st *stream) begin(r *http.Request) bool {
	if _, err := fmt.Fprint(st.w, "retry: 3000\n\n"); err != nil {
		return false
	}
	if st.o.History == nil {
		return st.flush()
	}
	latest, err := st.o.History.Latest(r.Context(), relay.HistoryFilter{Limit: 1})
	if err == nil && len(latest) > 0 {
		st.last = latest[0].Number
	}
	seen, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err == nil && seen != st.last {
		return st.send("changed")
	}
	return st.flush()
}

// send sends an event.
func (st *stream) send(event string) bool {
	st.rc.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := fmt.Fprintf(st.w, "id: %d\nevent: %s\ndata: \n\n", st.last, event)
	return err == nil && st.flush()
}

// flush hands what was written to the browser, and gives it time until the next.
func (st *stream) flush() bool {
	err := st.rc.Flush()
	st.rc.SetWriteDeadline(time.Now().Add(writeTime + ticksEvery))
	return err == nil
}
