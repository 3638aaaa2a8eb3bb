package page

import (
	"context"
	"net/http"
	"time"

	"mailwhy/relay"
)

// laneView is an upstream as it stands and as it is configured.
type laneView struct {
	relay.LaneState
	Class    string
	Word     string // running, slowed, paused
	Conf     Upstream
	Known    bool      // it is configured
	Success  time.Time // the last that was relayed, as far as is remembered
	RateText string
}

// lanes are the upstreams.
func (s *site) lanes(ctx context.Context, states []relay.LaneState) (list []laneView) {
	configured := map[string]Upstream{}
	for _, u := range s.o.Upstreams() {
		configured[u.Name] = u
	}
	var relayed map[string]time.Time
	if s.o.History != nil {
		relayed, _ = s.o.History.LastRelayed(ctx) // without it the page says nothing of it
	}
	for _, l := range states {
		v := laneView{LaneState: l, Class: "good", Word: "running", Success: relayed[l.Name]}
		v.Conf, v.Known = configured[l.Name]
		v.Rate = relay.RoundRate(l.Rate)
		switch {
		case l.Paused:
			v.Class, v.Word = "bad", "paused"
		case l.Slowed:
			v.Class, v.Word = "wait", "slowed"
		}
		list = append(list, v)
	}
	return list
}

// upstreamsData is what the upstreams show.
type upstreamsData struct {
	Lanes []laneView
	Now   time.Time
}

// upstreams shows how each upstream stands.
func (s *site) upstreams(r *http.Request) (view, error) {
	h, err := s.o.Relay.Health(r.Context())
	d := upstreamsData{Now: s.o.Now(), Lanes: s.lanes(r.Context(), h.Lanes)}
	return view{template: "upstreams", Title: "Upstreams", Data: d, Live: true}, err
}

// confirmProbe asks whether to try an upstream now, or all that are paused.
func (s *site) confirmProbe(r *http.Request) (view, error) {
	d := confirmData{Back: "/upstreams", To: "/upstreams/probe", What: "Try now",
		About: "Every upstream that is paused is tried at once, with one connection."}
	name := r.URL.Query().Get("name")
	if name != "" {
		d.Fields = []field{{"name", name}}
		d.About = "Upstream " + Shown(name) + " is tried at once, with one connection."
	}
	lanes, err := s.named(r.Context(), name)
	for _, l := range lanes {
		if l.Paused {
			d.Count++
		}
	}
	return view{template: "confirmother", Title: "Confirm", Data: d}, err
}

// named is the upstream with a name, or are all of them if it is "".
func (s *site) named(ctx context.Context, name string) ([]relay.LaneState, error) {
	h, err := s.o.Relay.Health(ctx)
	if err != nil || name == "" {
		return h.Lanes, err
	}
	for i := range h.Lanes {
		if h.Lanes[i].Name == name {
			return h.Lanes[i : i+1], nil
		}
	}
	return nil, &mistake{http.StatusNotFound, "There is no upstream " + Shown(name) + "."}
}

// probe tries an upstream now, or all that are paused.
func (s *site) probe(r *http.Request) (view, error) {
	name := r.PostForm.Get("name")
	if _, err := s.named(r.Context(), name); err != nil {
		return view{}, err
	}
	s.o.Probe(name)
	return view{}, &redirect{"/upstreams"}
}
