package suppress

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// TestOver: which of two changes stands, whichever replica asks.
func TestOver(t *testing.T) {
	at := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	learned := relay.Suppression{State: relay.SuppressionActive, Source: relay.SuppressedInSession,
		Reason: "user_unknown", LastSeen: at, Hits: 1, Expires: at.Add(7 * day)}
	later, complaint, manual := learned, learned, learned
	later.LastSeen = at.Add(time.Hour)
	complaint.Reason, complaint.Source = diagnose.ReasonSpamComplaint, "webhook"
	manual.Reason, manual.Source = ReasonManual, relay.SuppressedByOperator
	longer := manual
	longer.Expires = time.Time{}
	gone := *removal(&learned, relay.SuppressedInSession, at.Add(time.Minute))
	lifted := *removal(&learned, relay.SuppressedByOperator, at.Add(2*time.Hour))
	order := []relay.Suppression{learned, gone, later, complaint, manual, longer, lifted}
	for i := range order {
		for j := range order {
			if got := Over(&order[i], &order[j]); got != (i > j) {
				t.Errorf("%+v over %+v: %v", order[i], order[j], got)
			}
		}
	}
}

// TestOverIsAnOrder: of any changes one stands over all others, so that it does not matter which meet first.
func TestOverIsAnOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func() relay.Suppression {
		at := time.Unix(int64(r.IntN(3)), 0)
		s := relay.Suppression{State: relay.SuppressionActive, LastSeen: at, Hits: r.IntN(2),
			Source: []string{relay.SuppressedInSession, relay.SuppressedByOperator, "webhook"}[r.IntN(3)],
			Reason: []diagnose.Reason{"user_unknown", diagnose.ReasonSpamComplaint}[r.IntN(2)],
			Note:   fmt.Sprint(r.IntN(2)), Expires: time.Unix(int64(r.IntN(2)*100), 0)}
		if r.IntN(3) == 0 {
			s = *removal(&s, s.Source, at)
		}
		return s
	}
	for range 20000 {
		a, b, c := some(), some(), some()
		if Over(&a, &b) && Over(&b, &a) || Over(&a, &b) && Over(&b, &c) && !Over(&a, &c) {
			t.Fatalf("no order among %+v, %+v and %+v", a, b, c)
		}
		if !Over(&a, &b) && !Over(&b, &a) && (a.State != b.State || a.Note != b.Note || a.Hits != b.Hits ||
			!a.Expires.Equal(b.Expires) || weight(&a) != weight(&b)) {
			t.Fatalf("neither of %+v and %+v stands", a, b)
		}
	}
}
