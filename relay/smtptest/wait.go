package smtptest

import (
	"bytes"
	"sync"
	"time"
)

// patience is how long WaitFor waits: long enough for a loaded machine.
const patience = 20 * time.Second

// WaitFor calls ok until it is true. A test that waits too long fails, and says what it waited for.
func WaitFor(tb TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("waited in vain for %s", what)
			return
		}
	}
}

// Buffer is what a process or a logger writes to while a test reads it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
