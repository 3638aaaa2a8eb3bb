package queue

// Recent is a set of the ids that were added last. Its owner guards it.
type Recent struct {
	ids  map[string]struct{}
	ring []string
	next int
}

// RecentMax is how many ids of messages that have gone are known: some two megabytes.
const RecentMax = 16384

// NewRecent makes a set of up to max ids.
func NewRecent(max int) *Recent {
	return &Recent{ids: map[string]struct{}{}, ring: make([]string, 0, max)}
}

// Add adds an id; the oldest one makes room.
func (r *Recent) Add(id string) {
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, id)
	} else {
		delete(r.ids, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % len(r.ring)
	}
	r.ids[id] = struct{}{}
}

// Has reports whether an id is in the set.
func (r *Recent) Has(id string) bool {
	_, ok := r.ids[id]
	return ok
}
