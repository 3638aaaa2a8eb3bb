package processor

import (
	"fmt"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// BenchmarkProcess takes events from the journal to their effects: one operation is an event, in reports of
// ten, about one of 20,000 messages.
func BenchmarkProcess(b *testing.B) {
	w := newWorld(b)
	var messages []*relay.Message
	for i := range 20_000 {
		m := w.message(fmt.Sprintf("user%d@x.example", i))
		m.Recipients[0].State = relay.Relayed
		m.Recipients[0].Last = &relay.Attempt{Time: m.Arrived, Upstream: "default", UpstreamID: "up-" + m.ID}
		w.store.Relayed(m)
		messages = append(messages, m)
		if i%1000 == 0 {
			if err := w.store.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ResetTimer()
	for i := 0; i < b.N; {
		var events []feedback.Event
		for range 10 {
			m := messages[i%len(messages)]
			events = append(events, w.bounced(fmt.Sprint(i), m.Recipients[0].Address,
				feedback.Key{Kind: feedback.KeyProviderID, Value: "up-" + m.ID}))
			i++
		}
		w.comes("hook", events...)
		if i%1000 == 0 || i >= b.N {
			w.round()
		}
	}
}
