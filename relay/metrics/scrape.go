package metrics

import (
	"context"
	"time"

	"mailwhy/relay"
)

// statTimeout is how long the spool may take to say what it holds.
const statTimeout = 3 * time.Second

// Page is the whole exposition as it stands.
func (m *Metrics) Page(ctx context.Context) []byte {
	p := &page{b: make([]byte, 0, 16<<10)}
	m.frontDoor(p)
	m.recipients(p)
	m.bounces(p)
	m.times(p)
	m.lanes(p)
	if st, ok := m.stat(ctx); ok {
		m.queue(p, &st)
	}
	p.begin("mailwhy_build_info", "gauge", "Which mailwhy this is; always 1.")
	p.add(1, "version", m.o.Version, "goversion", m.o.GoVersion)
	p.begin("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.")
	p.add(float64(m.o.Started.UnixMilli()) / 1000)
	return p.b
}

// frontDoor writes what clients handed in.
func (m *Metrics) frontDoor(p *page) {
	for _, f := range []struct {
		name, help string
		of         func(*client) *counter
	}{
		{"mailwhy_messages_accepted_total", "Messages accepted, by client.", func(c *client) *counter { return &c.messages }},
		{"mailwhy_recipients_accepted_total", "Recipients of accepted messages, by client.", func(c *client) *counter { return &c.recipients }},
		{"mailwhy_refused_total", "Refusals at the front door, by client.", func(c *client) *counter { return &c.refused }},
	} {
		p.begin(f.name, "counter", f.help)
		m.clients.each(func(name string, c *client) { p.add(float64(f.of(c).Load()), "client", name) })
	}
}

// recipients writes what became of recipients. Of what always has a diagnosis every category is there from the start, of
// the rest the one of none; other cells appear when they are first counted.
func (m *Metrics) recipients(p *page) {
	p.begin("mailwhy_recipients_total", "counter", "What became of recipients, by event, upstream and category; a deferred one is counted at each attempt.")
	m.upstreams.each(func(name string, u *upstream) {
		for i, kind := range outcomes {
			for j, category := range categories {
				n := u.recipients[i][j].Load()
				if n > 0 || u != &m.upstreams.rest && diagnosed(kind) == (category != noCategory) {
					p.add(float64(n), "event", string(kind), "upstream", name, "category", string(category))
				}
			}
		}
	})
	p.begin("mailwhy_recipient_reasons_total", "counter", "The same, of those with a diagnosis, by its reason.")
	m.upstreams.each(func(name string, u *upstream) {
		u.reasons.each(func(reason string, counts *[len(outcomes)]counter) {
			for i, kind := range outcomes {
				if n := counts[i].Load(); n > 0 {
					p.add(float64(n), "event", string(kind), "upstream", name, "reason", reason)
				}
			}
		})
	})
}

// bounces writes the reports made.
func (m *Metrics) bounces(p *page) {
	p.begin("mailwhy_bounces_total", "counter", "Delivery status notifications made, by kind: failed, delayed, relayed.")
	for i, kind := range reportKinds {
		p.add(float64(m.reports[i].Load()), "kind", string(kind))
	}
}

// times writes the histograms.
func (m *Metrics) times(p *page) {
	of := func(name, help string, h func(*upstream) *histogram) {
		p.begin(name, "histogram", help)
		m.upstreams.each(func(label string, u *upstream) {
			if u != &m.upstreams.rest {
				p.histogram(h(u), "upstream", label)
			}
		})
	}
	of("mailwhy_attempt_duration_seconds", "How long an attempt took, for each recipient.", func(u *upstream) *histogram { return &u.attempts })
	of("mailwhy_message_delay_seconds", "From accepting a message to its being relayed, for each recipient.", func(u *upstream) *histogram { return &u.delays })
}

// lanes writes how the lanes stand.
func (m *Metrics) lanes(p *page) {
	lanes := m.o.Lanes()
	for _, f := range []struct {
		name, help string
		of         func(*relay.LaneState) float64
	}{
		{"mailwhy_lane_paused", "1 while nothing is sent to the upstream because it cannot be reached or refuses the account.",
			paused},
		{"mailwhy_lane_connections_limit", "Connections to the upstream at most, now.",
			func(l *relay.LaneState) float64 { return float64(l.Limit) }},
		{"mailwhy_lane_rate_limit", "Messages a second to the upstream at most, now; 0 is no bound.",
			func(l *relay.LaneState) float64 { return l.Rate }},
	} {
		p.begin(f.name, "gauge", f.help)
		for i := range lanes {
			p.add(f.of(&lanes[i]), "upstream", lanes[i].Name)
		}
	}
	p.begin("mailwhy_lane_events_total", "counter", "Changes of the lane that the delivery log tells of, by state.")
	m.upstreams.each(func(name string, u *upstream) {
		for i, state := range laneStates {
			if n := u.lane[i].Load(); n > 0 || u != &m.upstreams.rest {
				p.add(float64(n), "upstream", name, "state", state)
			}
		}
	})
}

// paused is 1 for a lane that is.
func paused(l *relay.LaneState) float64 {
	if l.Paused {
		return 1
	}
	return 0
}

// queue writes what the spool holds.
func (m *Metrics) queue(p *page, st *relay.SpoolStat) {
	age := 0.0
	if !st.Oldest.IsZero() {
		age = max(0, m.o.Now().Sub(st.Oldest).Seconds())
	}
	for _, f := range []struct {
		name, help string
		value      float64
	}{
		{"mailwhy_queue_messages", "Messages in the spool.", float64(st.Messages)},
		{"mailwhy_queue_bytes", "Bytes of contents in the spool.", float64(st.Bytes)},
		{"mailwhy_queue_oldest_age_seconds", "Time since the oldest message in the spool was accepted; 0 when it is empty.", age},
		{"mailwhy_queue_notices", "Reports to senders that are due or being collected, one for each recipient.", float64(st.Notices)},
		{"mailwhy_queue_leased", "Messages on their way to the upstream.", float64(st.Leased)},
		{"mailwhy_queue_quarantined", "Damaged messages set aside in the spool.", float64(st.Quarantined)},
		{"mailwhy_spool_free_bytes", "Free bytes on the spool's file system.", float64(st.FreeBytes)},
	} {
		p.begin(f.name, "gauge", f.help)
		p.add(f.value)
	}
}

// stat asks the spool what it holds, and gives up after a while. While an answer is outstanding nobody else asks, so that
// a disk that hangs costs one goroutine, however often it is scraped.
func (m *Metrics) stat(ctx context.Context) (relay.SpoolStat, bool) {
	ctx, cancel := context.WithTimeout(ctx, statTimeout)
	defer cancel()
	select {
	case m.asking <- struct{}{}:
	case <-ctx.Done():
		return relay.SpoolStat{}, false
	}
	type answer struct {
		st  relay.SpoolStat
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-m.asking }()
		st, err := m.o.Queue(ctx)
		answers <- answer{st, err}
	}()
	select {
	case a := <-answers:
		return a.st, a.err == nil
	case <-ctx.Done():
		return relay.SpoolStat{}, false
	}
}
