package oauth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay/smtptest/oauthtest"
)

// cachedOver makes a Cached for a scripted endpoint, inside a bubble of fake time.
func cachedOver(t *testing.T, o oauthtest.Options) (*Cached, *oauthtest.Server) {
	o.ClientID, o.Secret = clientID, "marked-secret"
	s := oauthtest.New(o)
	c := NewCached("up", withSecret(s, "marked-secret"), nil)
	t.Cleanup(c.Close)
	return c, s
}

func token(t *testing.T, c *Cached) Token {
	t.Helper()
	tok, err := c.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func fault(t *testing.T, c *Cached) *Error {
	t.Helper()
	_, err := c.Token(t.Context())
	var f *Error
	if !errors.As(err, &f) {
		t.Fatalf("%T %v, want an *Error", err, err)
	}
	return f
}

// TestEarlyRefresh: a token is replaced five minutes or a tenth of its life before its end, while the old one
// is still handed out.
func TestEarlyRefresh(t *testing.T) {
	for life, after := range map[time.Duration]time.Duration{
		time.Hour: 54 * time.Minute, 30 * time.Minute: 25 * time.Minute, 4 * time.Minute: 2 * time.Minute,
		10 * time.Hour: 9 * time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			c, s := cachedOver(t, oauthtest.Options{Life: life})
			first := token(t, c)
			time.Sleep(after - time.Second)
			if token(t, c) != first || len(s.Requests()) != 1 {
				t.Errorf("life %s: replaced too early", life)
			}
			time.Sleep(time.Second)
			if token(t, c) != first {
				t.Errorf("life %s: the old token is not handed out while the new one is fetched", life)
			}
			synctest.Wait()
			if token(t, c) == first || len(s.Requests()) != 2 {
				t.Errorf("life %s: not replaced after %s", life, after)
			}
		})
	}
}

// TestOneFlight: fifty connections ask at once.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Delay: 3 * time.Second, Continue: true}
		}})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { token(t, c) })
		}
		wg.Wait()
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// TestOneGivesUp: the end of one asker's context ends neither the fetch nor the others' wait.
func TestOneGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Delay: 3 * time.Second, Continue: true}
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		token(t, c)
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// TestFailedRefreshUsesTheLiveToken to its end, and then the fault is told.
func TestFailedRefreshUsesTheLiveToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N > 1 {
				return &oauthtest.Answer{Status: 503}
			}
			return nil
		}})
		first := token(t, c)
		for time.Until(first.Expires) > 0 {
			if token(t, c) != first {
				t.Fatal("another token")
			}
			time.Sleep(10 * time.Second)
		}
		if f := fault(t, c); f.Reason != ReasonUnavailable {
			t.Errorf("%+v", f)
		}
		// in the last 6 minutes: at once, after 5 s, 10, 20, 40, 80, 160 s more
		if n := len(s.Requests()) - 1; n < 6 || n > 7 {
			t.Errorf("%d refreshes were tried", n)
		}
	})
}

// TestBackOff: 30 seconds after the first refusal, doubling to 15 minutes; meanwhile the same fault is given
// without a request; after a success all is as at the beginning.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N != 8 {
				return oauthtest.Refusal("invalid_client", 7000222, "expired")
			}
			return nil
		}})
		at := func() (all []time.Duration) {
			began := time.Now()
			for n := len(s.Requests()); len(s.Requests()) < n+7; time.Sleep(time.Second) {
				before := len(s.Requests())
				if f := fault(t, c); f.Numbers[0] != 7000222 {
					t.Errorf("%+v", f)
				}
				if len(s.Requests()) > before {
					all = append(all, time.Since(began))
				}
			}
			return all
		}
		got := at()
		want := []time.Duration{0, 30 * time.Second, 90 * time.Second, 210 * time.Second, 450 * time.Second,
			930 * time.Second, 930*time.Second + 15*time.Minute}
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("asked after %v, want %v", got, want)
			}
		}
		time.Sleep(15 * time.Minute)
		used := token(t, c)
		if st := c.Status(); st.Fault != nil || !st.NextTry.IsZero() || !st.Live {
			t.Errorf("%+v", st)
		}
		c.Refused(used)
		fault(t, c)
		if st := c.Status(); time.Until(st.NextTry) != 30*time.Second {
			t.Errorf("next try in %s", time.Until(st.NextTry))
		}
	})
}

// TestBackOffOfUnavailable: an endpoint that fails is asked again after 5 seconds, doubling to 5 minutes; a
// refusal after that is left alone for as long as any.
func TestBackOffOfUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N < 10 {
				return &oauthtest.Answer{Status: 503}
			}
			return oauthtest.Refusal("invalid_client", 7000222, "expired")
		}})
		began := time.Now()
		var got []time.Duration
		for len(s.Requests()) < 10 {
			before := len(s.Requests())
			if f := fault(t, c); f.Reason != ReasonUnavailable && len(s.Requests()) < 10 {
				t.Fatalf("%+v", f)
			}
			if len(s.Requests()) > before {
				got = append(got, time.Since(began))
			}
			if len(s.Requests()) < 10 {
				time.Sleep(time.Second)
			}
		}
		second := time.Second
		want := []time.Duration{0, 5 * second, 15 * second, 35 * second, 75 * second, 155 * second,
			315 * second, 615 * second, 915 * second, 1215 * second}
		if !slices.Equal(got, want) {
			t.Errorf("asked after %v, want %v", got, want)
		}
		if st := c.Status(); time.Until(st.NextTry) != 10*time.Minute {
			t.Errorf("after the refusal the next try is in %s", time.Until(st.NextTry))
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N == 1 {
				return &oauthtest.Answer{Status: 429, Header: map[string]string{"Retry-After": "200"}}
			}
			return nil
		}})
		fault(t, c)
		time.Sleep(199 * time.Second)
		fault(t, c)
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%d requests within the 200 s", n)
		}
		time.Sleep(time.Second)
		token(t, c)
	})
}

// TestRefused: a refused token is replaced once; another refusal within ten minutes changes nothing, and one
// of a token that was replaced meanwhile points to the new one.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Life: 10 * time.Hour})
		first := token(t, c)
		if !c.Refused(first) {
			t.Error("no other token after the first refusal")
		}
		second := token(t, c)
		if second == first || len(s.Requests()) != 2 {
			t.Error("the refused token is handed out again")
		}
		if !c.Refused(first) || len(s.Requests()) != 2 {
			t.Error("whoever comes late is not sent to the new token")
		}
		if c.Refused(second) || token(t, c) != second {
			t.Error("a second forced refresh")
		}
		time.Sleep(10 * time.Minute)
		if !c.Refused(second) || token(t, c) == second {
			t.Error("no forced refresh after ten minutes")
		}
	})
}

// TestRefusedWhileTheEndpointRefuses: there is no other token to be had, so the refusal stands.
func TestRefusedWhileTheEndpointRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := cachedOver(t, oauthtest.Options{Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N > 1 {
				return &oauthtest.Answer{Status: 500}
			}
			return nil
		}})
		first := token(t, c)
		time.Sleep(55 * time.Minute)
		token(t, c) // begins a refresh, which fails
		synctest.Wait()
		if c.Refused(first) {
			t.Error("another token is promised")
		}
	})
}

// TestExpiredFromTheStart: an endpoint that gives dead tokens is not asked without end.
func TestExpiredFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := cachedOver(t, oauthtest.Options{Script: func(oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Body: `{"access_token":"a","expires_in":-5}`}
		}})
		if f := fault(t, c); !strings.Contains(f.Error(), "already expired") || len(s.Requests()) != 1 {
			t.Errorf("after %d requests: %v", len(s.Requests()), f)
		}
	})
}

func TestUnknownLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := cachedOver(t, oauthtest.Options{Script: func(oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Body: `{"access_token":"a"}`}
		}})
		if life := time.Until(token(t, c).Expires); life != unknownLife {
			t.Errorf("lives %s", life)
		}
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := cachedOver(t, oauthtest.Options{})
		if st := c.Status(); st.Live || !st.Issued.IsZero() || st.Age(time.Now()) != 0 {
			t.Errorf("before: %+v", st)
		}
		began := time.Now()
		token(t, c)
		time.Sleep(time.Minute)
		st := c.Status()
		if !st.Live || st.Age(time.Now()) != time.Minute || !st.LastSuccess.Equal(began) ||
			!st.Expires.Equal(began.Add(time.Hour)) {
			t.Errorf("%+v", st)
		}
	})
	file, _, cert := certificate(t)
	for _, source := range []Source{
		&ClientCredentials{Endpoint: Endpoint{Proof: &Certificate{CertFile: file}}},
		&Refresh{Proof: &Certificate{CertFile: file}},
	} {
		if got := NewCached("up", source, nil).Status().CertificateExpires; !got.Equal(cert.NotAfter) {
			t.Errorf("%T: %s", source, got)
		}
	}
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	source := &ClientCredentials{Endpoint: Endpoint{Proof: &ClientSecret{Expires: at}}}
	if got := NewCached("up", source, nil).Status().SecretExpires; !got.Equal(at) {
		t.Errorf("the secret expires %s", got)
	}
}

// TestExpiryIsWarnedOf: once 30 days, 7 days and 1 day before the end, and at the end.
func TestExpiryIsWarnedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := oauthtest.New(oauthtest.Options{ClientID: clientID, Secret: "marked-secret"})
		source := withSecret(s, "marked-secret")
		source.Endpoint.Proof.(*ClientSecret).Expires = time.Now().Add(31 * 24 * time.Hour)
		c := NewCached("up", source, slog.New(slog.NewTextHandler(&log, nil)))
		t.Cleanup(c.Close)
		var days []int
		for day := range 33 {
			for range 24 {
				token(t, c)
				synctest.Wait()
				if strings.Contains(log.String(), "client secret expires") {
					days = append(days, day)
				}
				log.Reset()
				time.Sleep(time.Hour)
			}
		}
		if !slices.Equal(days, []int{1, 24, 30, 31}) {
			t.Errorf("warned on the days %v", days)
		}
	})
}

// TestClose: a fetch under way ends, and nobody waits for ever.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := oauthtest.New(oauthtest.Options{Script: func(oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Delay: time.Hour}
		}})
		c := NewCached("up", withSecret(s, "x"), slog.New(slog.NewTextHandler(&log, nil)))
		time.AfterFunc(time.Second, c.Close)
		began := time.Now()
		if _, err := c.Token(t.Context()); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if _, err := c.Token(t.Context()); err == nil {
			t.Error("a token after Close")
		}
		if log.Len() > 0 {
			t.Error(log.String())
		}
	})
}
