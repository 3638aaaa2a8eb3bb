package lifecycle

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitIdle: one no is not enough, and the end of the time is.
func TestAwaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []bool{true, false, true, true, false, false, true}
		asked := 0
		AwaitIdle(t.Context(), func(context.Context) bool { asked++; return answers[asked-1] })
		if asked != 6 {
			t.Errorf("it was asked %d times", asked)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		asked = 0
		AwaitIdle(ctx, func(context.Context) bool { asked++; return true })
		if took := time.Since(began); took != time.Minute || asked > 70 {
			t.Errorf("it took %v, and %d questions", took, asked)
		}
	})
}
