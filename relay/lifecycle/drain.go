package lifecycle

import (
	"context"
	"time"
)

// How often it is looked whether something is left to send: at first, since most queues are empty, and later,
// since a look costs the spool a query for each upstream.
const (
	lookFirst = 20 * time.Millisecond
	lookMost  = time.Second
)

// AwaitIdle waits until there is nothing to wait for, or ctx ends. busy is asked again and again; what it
// asks for can be on its way from one place to another while it looks, so it has to say no twice in a row.
func AwaitIdle(ctx context.Context, busy func(context.Context) bool) {
	idle := 0
	for wait := lookFirst; ctx.Err() == nil; {
		if busy(ctx) {
			idle, wait = 0, min(2*wait, lookMost)
		} else if idle++; idle == 2 {
			return
		} else {
			wait = lookFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
