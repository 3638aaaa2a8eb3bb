package suppress

import (
	"cmp"
	"math"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Over reports whether, of two changes of an address that were made by replicas which did not know of each
// other's, a stands over b. Every replica decides alike: what people decided stands over what was learned, a
// complaint over a failure, then what was seen last, then an entry over a removal, and what lasts longer. Of
// two that say the same neither stands over the other.
func Over(a, b *relay.Suppression) bool {
	return cmp.Or(
		cmp.Compare(weight(a), weight(b)),
		a.LastSeen.Compare(b.LastSeen),
		-cmp.Compare(truth(a.State == relay.SuppressionRemoved), truth(b.State == relay.SuppressionRemoved)),
		cmp.Compare(lasting(a), lasting(b)),
		cmp.Compare(a.Hits, b.Hits),
		strings.Compare(a.Message, b.Message),
		strings.Compare(a.Upstream, b.Upstream),
		strings.Compare(a.Reply, b.Reply),
		strings.Compare(a.Note, b.Note),
	) > 0
}

// weight is how much an entry or a removal counts by whom it comes from.
func weight(s *relay.Suppression) int {
	switch {
	case byPeople(s.Source):
		return 2
	case s.Reason == diagnose.ReasonSpamComplaint:
		return 1
	}
	return 0
}

// lasting is until when an entry suppresses.
func lasting(s *relay.Suppression) int64 {
	if s.Expires.IsZero() {
		return math.MaxInt64
	}
	return s.Expires.UnixNano()
}

// truth is 1 for true.
func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
