package oauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay/smtptest/oauthtest"
)

func login(s *oauthtest.Server, transport http.RoundTripper) *Login {
	return &Login{
		Endpoint: Endpoint{TokenURL: s.URL("/token"), ClientID: clientID, HTTP: transport},
		AuthURL:  s.URL("/authorize"), DeviceURL: s.URL("/device"), Scope: "SMTP.Send offline_access",
		Offline: true, User: "a@b.test",
	}
}

// TestDevice: the endpoint is asked every five seconds, and five more after each slow_down, until the person
// has entered the code.
func TestDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := oauthtest.New(oauthtest.Options{ClientID: clientID, Pending: 2,
			Script: func(r oauthtest.Request) *oauthtest.Answer {
				switch r.N {
				case 2:
					return oauthtest.Google("slow_down", "")
				case 3:
					return &oauthtest.Answer{Status: 503, Header: map[string]string{"Retry-After": "15"}}
				}
				return nil
			}})
		l := login(s, s)
		if err := l.Check(l.DeviceURL); err != nil {
			t.Fatal(err)
		}
		var shown Prompt
		began := time.Now()
		in, err := l.Device(t.Context(), func(p Prompt) { shown = p })
		if err != nil {
			t.Fatal(err)
		}
		// 5 s, slow_down; 10 s, 503; then every 15 s: pending, pending, done
		if took := time.Since(began); took != 60*time.Second {
			t.Errorf("took %s", took)
		}
		if shown.Code != "ABCD-EFGH" || shown.URL != "https://login.test/device" || in.Refresh.IsZero() ||
			!s.Valid(in.Token.Access.Reveal()) {
			t.Errorf("%+v, %+v", shown, in)
		}
	})
}

func TestDeviceFails(t *testing.T) {
	for name, tt := range map[string]struct {
		n      int // of the request that is refused; all from there on
		answer *oauthtest.Answer
		want   string
	}{
		"declined": {2, oauthtest.Google("authorization_declined", "no"), "authorization_declined"},
		"expired": {2, oauthtest.Refusal("expired_token", 70019, "Verification code expired."),
			"AADSTS70019"},
		"nobody": {2, oauthtest.Refusal("authorization_pending", 70016, "pending"),
			"the code has expired"},
		"no device":  {1, oauthtest.Refusal("invalid_client", 700016, "not found"), "AADSTS700016"},
		"broken":     {1, &oauthtest.Answer{Body: "{}"}, "cannot be read"},
		"no refresh": {2, &oauthtest.Answer{Body: `{"access_token":"a"}`}, "no refresh token"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := oauthtest.New(oauthtest.Options{ClientID: clientID,
					Script: func(r oauthtest.Request) *oauthtest.Answer {
						if r.N >= tt.n {
							return tt.answer
						}
						return nil
					}})
				_, err := login(s, s).Device(t.Context(), func(Prompt) {})
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(),
					"marked") {
					t.Errorf("%v, want %q", err, tt.want)
				}
			})
		})
	}
}

// open is a browser whose person agrees to everything: it follows the redirects.
func open(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// TestBrowser: the endpoint verifies the redirect and the PKCE challenge. A request with another state is
// ignored.
func TestBrowser(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID})
	pages := make(chan string, 1)
	in, err := login(s, nil).Browser(t.Context(), func(address string) {
		u, _ := url.Parse(address)
		q := u.Query()
		if q.Get("access_type") != "offline" || q.Get("prompt") != "consent" ||
			q.Get("login_hint") != "a@b.test" ||
			q.Get("code_challenge_method") != "S256" || q.Get("scope") != "SMTP.Send offline_access" {
			t.Errorf("opened %v", q)
		}
		for _, forged := range []string{"/?code=x&state=forged", "/?state=&code=x", "/favicon.ico"} {
			if page := open(t, q.Get("redirect_uri")+forged); !strings.Contains(page, "does not belong") {
				t.Errorf("%s: %s", forged, page)
			}
		}
		go func() { pages <- open(t, address) }()
	})
	if err != nil {
		t.Fatal(err)
	}
	if page := <-pages; !strings.Contains(page, "login is done") {
		t.Error(page)
	}
	if in.Refresh.IsZero() || !s.Valid(in.Token.Access.Reveal()) {
		t.Errorf("%+v", in)
	}
}

func TestBrowserRefused(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID})
	_, err := login(s, nil).Browser(t.Context(), func(address string) {
		u, _ := url.Parse(address)
		q := u.Query()
		go open(t,
			q.Get("redirect_uri")+"/?error=access_denied&error_description=AADSTS65004%3a+declined&state="+
				q.Get("state"))
	})
	var f *Error
	if !errors.As(err, &f) || f.Code != "access_denied" || f.Reason != ReasonConsent ||
		f.Numbers[0] != 65004 {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := login(s, nil).Browser(ctx, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPaste(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID})
	l := login(s, nil)
	var landed string
	show := func(address string) {
		client := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			landed = r.URL.String() // nobody answers there
			return http.ErrUseLastResponse
		}}
		resp, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	in, err := l.Paste(t.Context(), show, func() (string, error) { return " " + landed + "\n", nil })
	if err != nil || in.Refresh.IsZero() {
		t.Fatalf("%v, from %s", err, landed)
	}
	for pasted, want := range map[string]string{
		"":              "not a valid address",
		"marked-code-1": "not a valid address",
		"http://localhost/?code=marked-code&state=old": "not of this login",
	} {
		_, err := l.Paste(t.Context(), func(string) {}, func() (string, error) { return pasted, nil })
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "marked") {
			t.Errorf("%q: %v", pasted, err)
		}
	}
}

func TestLoginCheck(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{})
	l := login(s, s)
	if l.Check(l.AuthURL) != nil || l.Check("") == nil || l.Check("http://evil.test/") == nil {
		t.Error("Check")
	}
	l.Scope = ""
	if l.Check(l.AuthURL) == nil {
		t.Error("no scope")
	}
}
