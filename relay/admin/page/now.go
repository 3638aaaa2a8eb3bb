package page

import (
	"context"
	"net/http"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// nowData is what the first page shows.
type nowData struct {
	Health admin.Health
	Now    time.Time
	Oldest time.Duration // 0: nothing waits
	Lanes  []laneView

	// Of the last hour; only with a history.
	Relayed, Deferred, Failed int64
	Rate                      float64 // relayed a minute, of the last ten minutes

	Events   []eventView
	State    relay.HistoryState
	Warnings []string
}

// eventsShown are those of the first page.
const eventsShown = 25

// now shows how the relay is.
func (s *site) now(r *http.Request) (view, error) {
	h, err := s.o.Relay.Health(r.Context())
	if err != nil {
		return view{}, err
	}
	d := nowData{Health: h, Now: s.o.Now(), Warnings: s.o.Warnings(), Lanes: s.lanes(r.Context(), h.Lanes)}
	if !h.Spool.Oldest.IsZero() {
		d.Oldest = max(d.Now.Sub(h.Spool.Oldest), time.Second)
	}
	if s.o.History != nil {
		if err := s.lastHour(r.Context(), &d); err != nil {
			return view{}, err
		}
	}
	return view{template: "now", Title: "Now", Data: d, Live: true}, nil
}

// lastHour fills in what the history tells.
func (s *site) lastHour(ctx context.Context, d *nowData) error {
	since := d.Now.Add(-time.Hour)
	tallies, err := s.o.History.Tallies(ctx, since, 5*time.Minute)
	if err != nil {
		return err
	}
	recent := d.Now.Add(-10 * time.Minute).Truncate(5 * time.Minute)
	for _, t := range tallies {
		switch {
		case t.Kind == relay.EventRelayed:
			d.Relayed += t.Count
			if !t.Start.Before(recent) {
				d.Rate += float64(t.Count) / d.Now.Sub(recent).Minutes()
			}
		case t.Kind == relay.EventDeferred:
			d.Deferred += t.Count
		case slices.Contains(finalKinds(), t.Kind):
			d.Failed += t.Count
		}
	}
	latest, err := s.o.History.Latest(ctx, relay.HistoryFilter{Limit: eventsShown})
	for i := range latest {
		d.Events = append(d.Events, viewOf(&latest[i].Event))
	}
	d.State = s.o.History.State()
	return err
}

// finalKinds are the events that say that mail will not arrive.
func finalKinds() []relay.EventKind {
	return []relay.EventKind{relay.EventFailed, relay.EventExpired, relay.EventBounced,
		relay.EventSuppressed, relay.EventComplained}
}

// eventView is an event as a line of a list, or of a timeline.
type eventView struct {
	relay.Event
	Class string // of CSS: good, wait, bad or plain
	Said  string // the reply, or the error in its place
}

// viewOf is e for people.
func viewOf(e *relay.Event) eventView {
	v := eventView{Event: *e, Class: "plain", Said: e.Reply}
	switch e.Kind {
	case relay.EventRelayed, relay.EventDelivered, relay.EventAccepted, relay.EventReleased:
		v.Class = "good"
	case relay.EventDeferred, relay.EventDelayed, relay.EventRetrying, relay.EventHeld, relay.EventMoved:
		v.Class = "wait"
	case relay.EventFailed, relay.EventExpired, relay.EventBounced, relay.EventComplained,
		relay.EventSuppressed, relay.EventRefused, relay.EventQuarantined, relay.EventDropped:
		v.Class = "bad"
	case relay.EventLane, relay.EventWebhook:
		v.Class = "wait"
		if e.State == "resumed" || e.State == "enabled" {
			v.Class = "good"
		}
	}
	switch {
	case e.Kind == relay.EventAccepted:
		v.Note = "from " + relay.SenderName(e.From) + ", " + size(e.Size)
	case e.Kind == relay.EventSuppression && e.Suppression != nil:
		v.Note = words(e.Suppression.Reason)
	}
	if a := e.Tried; a != nil {
		v.Said = a.Reply.Raw
		if v.Said == "" {
			v.Said = a.NetErr.Text
		}
	}
	return v
}
