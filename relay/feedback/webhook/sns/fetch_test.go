package sns

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFetcher(t *testing.T) {
	a := newAuthority(t)
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/good.pem", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Write([]byte("# ours\n"))
		w.Write(pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte("x")}))
		w.Write(append(file, file...))
	})
	mux.HandleFunc("/moved.pem", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/good.pem", http.StatusFound)
	})
	mux.HandleFunc("/long.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(strings.Repeat(string(file), maxFile/len(file)+1)))
	})
	mux.HandleFunc("/empty.pem", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/broken.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	})
	mux.HandleFunc("/down.pem", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/busy.pem", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) })
	mux.HandleFunc("/slow.pem", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // a return would be an answer
	})
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	f := NewFetcher(server.Client().Transport)

	for range 3 {
		if chain, err := f.Certificates(t.Context(), server.URL+"/good.pem"); err != nil || len(chain) != 2 {
			t.Fatalf("%d certificates, %v", len(chain), err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for path, unreachable := range map[string]bool{
		"/moved.pem": false, "/long.pem": false, "/empty.pem": false,
		"/broken.pem": false, "/none.pem": false,
		"/down.pem": true, "/busy.pem": true, "/slow.pem": true,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := f.Certificates(ctx, server.URL+path)
		cancel()
		if err == nil || errors.Is(err, ErrUnreachable) != unreachable {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Error("a redirect was followed")
	}
	if err := f.Confirm(t.Context(), server.URL+"/empty.pem"); err != nil {
		t.Error(err)
	}
	if err := f.Confirm(t.Context(), server.URL+"/down.pem"); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := f.Confirm(ctx, server.URL+"/?Token=secret")
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestFetcherTrusts refuses a host whose certificate is not of a known authority, and plain HTTP finds no way
// around that: the callers' URLs are https.
func TestFetcherTrusts(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	_, err := NewFetcher(&http.Transport{}).Certificates(t.Context(), server.URL+"/x.pem")
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

// TestFetcherIsBounded asks for more files than are remembered.
func TestFetcherIsBounded(t *testing.T) {
	a := newAuthority(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}))
	}))
	defer server.Close()
	f := NewFetcher(&http.Transport{DisableKeepAlives: true})
	for i := range 3 * maxFiles {
		if _, err := f.Certificates(t.Context(), fmt.Sprintf("%s/%d.pem", server.URL, i)); err != nil {
			t.Fatal(err)
		}
		if len(f.files) > maxFiles {
			t.Fatalf("%d files are remembered", len(f.files))
		}
	}
}
