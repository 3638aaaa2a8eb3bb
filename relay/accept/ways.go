package accept

import (
	"slices"
	"strings"

	"mailwhy/relay"
)

// Ways are the ways that mail can take now: the routes, and how the upstreams stand. The functions are called
// for each mail, so that a changed configuration applies at once; they are safe for concurrent use.
type Ways struct {
	Route func(m *relay.Message, recipient int) Route
	// Down reports whether an upstream has been unusable for so long that its mail goes to the next one.
	Down func(upstream string) bool
	// Full reports whether an upstream has had its mail of the day.
	Full func(upstream string) bool
}

// choose is the upstream that takes mail of a route: the first that is up and not full. Where all that are up
// are full the last of them takes it, and where all are down the first waits with it.
func (w *Ways) choose(r Route) string {
	if len(r.Upstreams) == 1 {
		return r.Upstreams[0]
	}
	lane := ""
	for _, name := range r.Upstreams {
		if w.Down(name) {
			continue
		}
		if lane = name; !w.Full(name) {
			return lane
		}
	}
	if lane == "" && len(r.Upstreams) > 0 {
		lane = r.Upstreams[0]
	}
	return lane
}

// instead is the upstream that takes a message over from one that is down; "" when there is none.
func (w *Ways) instead(m *relay.Message) string {
	lane := w.choose(w.of(m))
	if lane == m.Lane || w.Down(lane) || !w.Down(m.Lane) {
		return ""
	}
	return lane
}

// of is the route of a message: that of its first recipient that waits, since all of a message had the same
// ones when it was accepted.
func (w *Ways) of(m *relay.Message) Route {
	i := slices.IndexFunc(m.Recipients, func(r relay.Recipient) bool { return r.Waiting() })
	return w.Route(m, max(i, 0))
}

// key is what recipients have in common that share a message.
func (r Route) key() string { return strings.Join(r.Upstreams, "\x00") }
