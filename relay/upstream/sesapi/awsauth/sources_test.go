package awsauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/oauth"
)

// client makes calls in clear.
func client(t *testing.T) *httpapi.Client {
	t.Helper()
	second := 5 * time.Second
	c, err := httpapi.NewClient(httpapi.Options{Timeouts: httpapi.Timeouts{Connect: second, Command: second,
		Write: second, EndOfData: second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const keys = `{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"secret-1","Token":"session-1",` +
	`"Expiration":"2099-01-02T03:04:05Z"}`

// wantKeys checks that c are the keys above.
func wantKeys(t *testing.T, c Credentials, err error) {
	t.Helper()
	if err != nil || c.AccessKeyID != "ASIA1" || c.Secret.Reveal() != "secret-1" ||
		c.SessionToken.Reveal() != "session-1" || c.Expires.Year() != 2099 {
		t.Errorf("%+v, %v", c, err)
	}
	if shown := fmt.Sprintf("%+v %#v", c, c); strings.Contains(shown, "secret-1") ||
		strings.Contains(shown, "session-1") {
		t.Errorf("a secret is shown: %s", shown)
	}
}

// TestContainer: the endpoint of a container wants its token; a refusal is told with its words.
func TestContainer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "the-token" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"code":"AuthTokenRequired","message":"no"}`)
			return
		}
		fmt.Fprint(w, keys)
	}))
	defer s.Close()
	source := &Container{URL: s.URL + "/v1/credentials", Client: client(t),
		Token: func() (string, error) { return "the-token", nil }}
	got, err := source.Fetch(t.Context())
	wantKeys(t, got, err)
	source.Token = nil
	if _, err := source.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "HTTP 401") ||
		!strings.Contains(err.Error(), "AuthTokenRequired: no") {
		t.Errorf("%v", err)
	}
}

// TestInstance: the metadata service is asked in a session of version 2.
func TestInstance(t *testing.T) {
	role := "mailwhy"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const roles = "/latest/meta-data/iam/security-credentials/"
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" &&
			r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
			fmt.Fprint(w, "session")
		case r.Header.Get("X-aws-ec2-metadata-token") != "session":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == roles && role != "":
			fmt.Fprint(w, role+"\n")
		case role != "" && r.URL.Path == roles+role:
			fmt.Fprint(w, keys)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	source := &Instance{Base: s.URL, Client: client(t)}
	got, err := source.Fetch(t.Context())
	wantKeys(t, got, err)
	role = ""
	if _, err := source.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "names no role") {
		t.Errorf("%v", err)
	}
}

// counted is a Source that counts.
type counted struct {
	n    atomic.Int64
	life time.Duration
	err  atomic.Pointer[error]
}

func (c *counted) Fetch(context.Context) (Credentials, error) {
	n := c.n.Add(1)
	if err := c.err.Load(); err != nil {
		return Credentials{}, *err
	}
	return Credentials{AccessKeyID: fmt.Sprint(n), Secret: oauth.NewSecret("x"),
		Expires: time.Now().Add(c.life)}, nil
}

// TestCached: one fetch for all who wait, old credentials while new ones fail, and a pause after a failure.
func TestCached(t *testing.T) {
	var ahead atomic.Int64 // of the clock
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	source := &counted{life: time.Hour}
	c := NewCached("ses", source, slog.New(slog.DiscardHandler), now)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got, err := c.Credentials(t.Context()); err != nil || got.AccessKeyID != "1" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	all.Wait()
	refused := errors.New("no")
	source.err.Store(&refused)
	ahead.Store(int64(57 * time.Minute)) // within the last five minutes
	for range 20 {
		if got, err := c.Credentials(t.Context()); err != nil || got.AccessKeyID != "1" {
			t.Errorf("while the new ones fail: %+v, %v", got, err)
		}
	}
	ahead.Store(int64(61 * time.Minute))
	if _, err := c.Credentials(t.Context()); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if n := source.n.Load(); n > 3 {
		t.Errorf("%d fetches", n)
	}
	source.err.Store(nil)
	ahead.Store(int64(2 * time.Hour))
	source.life = 3 * time.Hour
	if _, err := c.Credentials(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
	if c.Forget() {
		t.Error("credentials that were fetched just now are worth another try")
	}
	ahead.Add(int64(2 * time.Minute))
	if !c.Forget() || c.Forget() {
		t.Error("credentials are forgotten once")
	}
}
