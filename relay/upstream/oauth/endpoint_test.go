package oauth

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest/oauthtest"
)

// TestRedirectIsRefused: following it would send the secret to another host.
func TestRedirectIsRefused(t *testing.T) {
	other := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Secret: "marked-secret"})
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Secret: "marked-secret",
		Script: func(oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Status: http.StatusTemporaryRedirect, // which would repeat the body
				Header: map[string]string{"Location": other.URL("/token")}}
		}})
	c := withSecret(s, "marked-secret")
	c.Endpoint.HTTP = nil
	f := fetchError(t, c)
	if f.Status != 307 || f.Who != WhoConfig || !strings.Contains(f.Description, "redirects to 127.0.0.1") {
		t.Errorf("%+v", f)
	}
	if n := len(other.Requests()); n != 0 {
		t.Errorf("%d requests at the other endpoint", n)
	}
}

func TestBrokenEndpoint(t *testing.T) {
	for name, a := range map[string]*oauthtest.Answer{
		"HTML":        {Body: "<html>marked-access</html>"},
		"no token":    {Body: `{"token_type":"Bearer","expires_in":3599}`},
		"truncated":   {Body: `{"access_token":"marked-access","expi`},
		"HTML, 403":   {Status: 403, Body: "<html>blocked by the proxy"},
		"CRLF":        {Body: `{"access_token":"marked\r\nX-Other: 1","expires_in":3599}`},
		"NUL":         {Body: `{"access_token":"marked\u0000","expires_in":3599}`},
		"SASL":        {Body: `{"access_token":"marked\u0001\u0001","expires_in":3599}`},
		"no ASCII":    {Body: `{"access_token":"markedé","expires_in":3599}`},
		"closed":      {Close: true},
		"empty, 200":  {},
		"form, error": {Status: 400, Header: map[string]string{"Content-Type": "text/plain"}, Body: "%zz"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := scripted(a)
			if f := fetchError(t, c); strings.Contains(f.Error(), "marked") {
				t.Error(f)
			}
		})
	}
}

// TestSlowEndpoint: a request ends after 30 seconds, and before that with its context.
func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := scripted(&oauthtest.Answer{Delay: time.Hour})
		began := time.Now()
		f := fetchError(t, c)
		if took := time.Since(began); took != requestLimit || f.Reason != ReasonUnavailable || !f.Temporary {
			t.Errorf("after %s: %+v", took, f)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"120", 2 * time.Minute}, {"999999", time.Hour}, {"99999999999999999", time.Hour}, {"-3", 0},
		{"soon", 0}, {"", 0},
	} {
		_, c := scripted(&oauthtest.Answer{Status: 429, Header: map[string]string{"Retry-After": tt.header}})
		if f := fetchError(t, c); f.RetryAfter != tt.want || !f.Temporary {
			t.Errorf("%q: %s, temporary %v", tt.header, f.RetryAfter, f.Temporary)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
		if got := retryAfter(at); got != 90*time.Second {
			t.Errorf("%q: %s", at, got)
		}
	})
}

// TestSkewIsTold: a fault says how far our clock is from the endpoint's, unless it is about right.
func TestSkewIsTold(t *testing.T) {
	for skew, want := range map[time.Duration]string{
		0: "", 20 * time.Second: "",
		7 * time.Minute: "the clock of this machine is 7m0s behind the endpoint's",
		-2 * time.Hour:  "the clock of this machine is 2h0m0s ahead of the endpoint's",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := oauthtest.New(oauthtest.Options{ClientID: clientID, Secret: "right", Skew: skew})
			text := fetchError(t, withSecret(s, "wrong")).Error()
			if want == "" && strings.Contains(text, "clock") || !strings.HasSuffix(text, want) {
				t.Errorf("%s: %s", skew, text)
			}
		})
	}
}

// TestCertificateOfEndpoint: a certificate that is not accepted has the reason of its fault, and is not taken
// for an endpoint that is down.
func TestCertificateOfEndpoint(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	elsewhere := strings.Replace(s.URL, "127.0.0.1", "localhost", 1) // a name that its certificate lacks
	for _, tt := range []struct {
		url    string
		client http.RoundTripper
		want   diagnose.Reason
	}{
		{s.URL, nil, ReasonAuthority},
		{elsewhere, s.Client().Transport, ReasonName},
	} {
		c := &ClientCredentials{Scope: "scope", Endpoint: Endpoint{TokenURL: tt.url, ClientID: clientID,
			HTTP: tt.client, Proof: &ClientSecret{Read: func() (string, error) { return "x", nil }}}}
		if f := fetchError(t, c); f.Reason != tt.want || f.Who != WhoOperator || !f.Temporary {
			t.Errorf("%s: %s, %s, temporary %v; want %s", tt.url, f.Reason, f.Who, f.Temporary, tt.want)
		}
	}
}

func TestEndpointCheck(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://login.test/token": true, "http://127.0.0.1:8080/token": true, "http://localhost/token": true,
		"http://[::1]:1/t": true, "http://login.test/token": false, "login.test/token": false, "": false,
		"https://user:pass@login.test/": false, "https://login.test/#x": false, "ftp://127.0.0.1/": false,
		"http://127.0.0.1.evil.test/": false,
	} {
		e := Endpoint{ClientID: clientID, TokenURL: url}
		if err := e.Check(); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TestEchoIsRedacted: an endpoint that repeats what it was sent.
func TestEchoIsRedacted(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Secret: "x",
		Script: func(r oauthtest.Request) *oauthtest.Answer {
			echo := r.Form.Get("client_secret")
			return oauthtest.Google("invalid_client "+echo, "the secret "+echo+" is wrong")
		}})
	f := fetchError(t, withSecret(s, "marked-secret"))
	if strings.Contains(f.Error(), "marked") || !strings.Contains(f.Error(), "the secret [hidden] is wrong") {
		t.Error(f)
	}
}
