package page

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// messageData is what a message shows.
type messageData struct {
	ID         string
	Queued     *admin.Shown // nil: it is not in the queue
	Remembered []admin.Remembered
	Timeline   []eventView
	Bounces    []string // queue ids of reports about it
	Now        time.Time
	From       string
	Recipients []recipientView
	Held       bool // a recipient is held
	Waits      bool // a recipient waits
}

// recipientView is a recipient of a queued message.
type recipientView struct {
	relay.Recipient
	Said     string
	Next     time.Time
	WaitsFor string
}

// message shows one message, whether it is in the queue or not.
func (s *site) message(r *http.Request) (view, error) {
	d := messageData{ID: r.PathValue("id"), Now: s.o.Now()}
	if !relay.ValidID(d.ID) {
		return view{}, &mistake{http.StatusNotFound, `"` + Shown(d.ID) + `" is not the id of a message.`}
	}
	var err error
	if d.Queued, err = s.o.Relay.Show(r.Context(), d.ID); err != nil && !errors.Is(err, relay.ErrNotFound) {
		return view{}, err
	}
	if err != nil {
		d.Queued = nil
		d.Remembered, _ = s.o.Relay.Remembered(r.Context(), d.ID) // nothing is known, or feedback is off
	}
	if s.o.History != nil {
		events, err := s.o.History.Timeline(r.Context(), d.ID)
		if err != nil {
			return view{}, err
		}
		d.addTimeline(events)
	}
	if d.Queued == nil && len(d.Remembered) == 0 && len(d.Timeline) == 0 {
		return view{}, &mistake{http.StatusNotFound,
			"There is no such message in the queue or in the history."}
	}
	if d.Queued != nil {
		d.addQueued()
	}
	return view{template: "message", Title: "Message " + d.ID, Data: d, Live: true}, nil
}

// addTimeline takes in the events of the message.
func (d *messageData) addTimeline(events []relay.Event) {
	seen := map[string]bool{}
	for i := range events {
		e := &events[i]
		d.Timeline = append(d.Timeline, viewOf(e))
		d.From = cmp.Or(d.From, e.From)
		if e.DSN != "" && !seen[e.DSN] {
			seen[e.DSN] = true
			d.Bounces = append(d.Bounces, e.DSN)
		}
	}
}

// addQueued takes in how the message stands in the queue. Where there is no history, its own takes its place.
func (d *messageData) addQueued() {
	m := d.Queued.Message
	d.From = m.Envelope.From
	lane := d.Queued.Upstream
	if lane == nil {
		lane = &relay.LaneState{}
	}
	own := len(d.Timeline) == 0
	for i := range m.Recipients {
		v := recipientView{Recipient: m.Recipients[i]}
		if v.Last != nil {
			v.Said = cmp.Or(v.Last.Reply.Raw, v.Last.NetErr.Text)
		}
		if v.Waiting() {
			v.Next, v.WaitsFor = lane.NextTry(m.Envelope.From, v.NextAttempt)
			d.Waits = true
		}
		d.Held = d.Held || v.State == relay.Held
		d.Recipients = append(d.Recipients, v)
		for _, h := range v.History {
			if own {
				e := relay.Event{Time: h.Time, Kind: h.Event, To: v.Address, Stage: h.Stage, Reply: h.Reply,
					Policy: h.Policy}
				if h.Category != "" {
					e.Diagnosis = &diagnose.Diagnosis{Category: h.Category, Reason: h.Reason}
				}
				d.Timeline = append(d.Timeline, viewOf(&e))
			}
		}
	}
}

// searchData is what a search found.
type searchData struct {
	Text   string
	Queued []messageRow
	Past   []eventView
	Now    time.Time
}

// search finds a message by its id, or the messages to a recipient.
func (s *site) search(r *http.Request) (view, error) {
	text := strings.Trim(r.URL.Query().Get("q"), " \t\r\n<>")
	if id := strings.ToUpper(text); relay.ValidID(id) {
		return view{}, &redirect{"/message/" + url.PathEscape(id)}
	}
	if text == "" {
		return view{}, &redirect{"/queue"}
	}
	d := searchData{Text: text, Now: s.o.Now()}
	f := relay.QueueFilter{Recipient: text, Limit: queueRows}
	err := s.o.Relay.List(r.Context(), f, func(m admin.Summary) error {
		d.Queued = append(d.Queued, messageRow{Summary: m})
		return nil
	})
	if err == nil && s.o.History != nil {
		var found []relay.NumberedEvent
		found, err = s.o.History.Latest(r.Context(), relay.HistoryFilter{Recipient: text, Limit: 100})
		for i := range found {
			d.Past = append(d.Past, viewOf(&found[i].Event))
		}
	}
	return view{template: "search", Title: "Search", Data: d}, err
}
