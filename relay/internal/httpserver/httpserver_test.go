package httpserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// TestServe: a stream that stop ends is answered whole, and Serve returns when all is over.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "begin ")
		http.NewResponseController(w).Flush()
		cancel()
		<-stopped
		io.WriteString(w, "end")
	})}
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, server, l, func() { close(stopped) }) }()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "begin end" {
		t.Errorf("%q, %v", b, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestServeFails: a listener that cannot be used is an error, and stop is called all the same.
func TestServeFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	stopped := false
	if err := Serve(t.Context(), &http.Server{}, l, func() { stopped = true }); err == nil || !stopped {
		t.Errorf("%v, stopped %v", err, stopped)
	}
}
