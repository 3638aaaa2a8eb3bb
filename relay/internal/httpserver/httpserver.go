// Package httpserver runs an HTTP server until a context ends. It is for servers that have streams, which are
// told to end first: a server waits for them otherwise.
package httpserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// grace is what requests under way have to end.
const grace = 2 * time.Second

// Serve answers on l until ctx ends. Then it calls stop, which ends the streams, gives other requests under
// way two seconds, and cuts what is left. It returns why it could not serve; an end by ctx is no error.
func Serve(ctx context.Context, server *http.Server, l net.Listener, stop func()) error {
	ended := make(chan struct{})
	defer func() { <-ended }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(ended)
		<-ctx.Done()
		stop()
		left, done := context.WithTimeout(context.Background(), grace)
		defer done()
		if server.Shutdown(left) != nil {
			server.Close()
		}
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
