package oauthtest

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"
)

// RoundTrip implements http.RoundTripper.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		s.ServeHTTP(w, r)
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case aborted := <-done:
		if aborted != nil {
			return nil, http.ErrServerClosed
		}
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	req := Request{N: len(s.requests) + 1, Path: r.URL.Path, Form: r.Form}
	s.requests = append(s.requests, req)
	s.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(s.opt.Skew).UTC().Format(http.TimeFormat))
	if s.opt.Script != nil {
		if a := s.opt.Script(req); a != nil && !a.write(r.Context(), w) {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/token":
		s.token(w, r.PostForm)
	case "/device":
		s.device(w)
	case "/authorize":
		s.authorize(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// write says a, and reports whether the server's own answer is to follow.
func (a *Answer) write(ctx context.Context, w http.ResponseWriter) bool {
	if a.Delay > 0 {
		select {
		case <-time.After(a.Delay):
		case <-ctx.Done():
			return false
		}
	}
	switch {
	case a.Continue:
		return true
	case a.Close:
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	for k, v := range a.Header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
	w.Write([]byte(a.Body))
	return false
}

// device begins a login by device code.
func (s *Server) device(w http.ResponseWriter) {
	code := s.secret("device")
	s.codes[code] = url.Values{}
	reply(w, map[string]any{"device_code": code, "user_code": "ABCD-EFGH",
		"verification_uri": "https://login.test/device", "expires_in": 900,
		"interval": cmp.Or(s.opt.Interval, 5)})
}

// authorize is the page of a browser: its person agrees at once.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	to, err := url.Parse(r.Form.Get("redirect_uri"))
	if err != nil || r.Form.Get("client_id") != s.opt.ClientID {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	code := s.secret("code")
	s.codes[code] = maps.Clone(r.Form)
	to.Path = "/"
	to.RawQuery = url.Values{"code": {code}, "state": {r.Form.Get("state")}}.Encode()
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func reply(w http.ResponseWriter, fields map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(fields)
}

func refuse(w http.ResponseWriter, code string, number int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	w.Write([]byte(refusal(code, number, text)))
}
