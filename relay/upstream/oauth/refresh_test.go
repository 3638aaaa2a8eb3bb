package oauth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay/smtptest/oauthtest"
)

// store makes a File with a refresh token.
func store(t *testing.T, tokenURL, refresh string) File {
	t.Helper()
	f := File{Path: filepath.Join(t.TempDir(), "token.json")}
	if err := f.Save(t.Context(), stored(tokenURL, refresh)); err != nil {
		t.Fatal(err)
	}
	return f
}

func stored(tokenURL, refresh string) Stored {
	return Stored{Provider: "m365", ClientID: clientID, Tenant: "contoso.com", TokenURL: tokenURL,
		Scope: "SMTP.Send offline_access", User: "a@contoso.com", Refresh: NewSecret(refresh),
		LoggedIn: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
}

func onDisk(t *testing.T, f File) string {
	t.Helper()
	s, err := f.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Refresh.Reveal()
}

// TestRotationIsOnDiskFirst: when the access token is handed out, the new refresh token is in the file, which
// only its owner can read, and the other fields are as they were.
func TestRotationIsOnDiskFirst(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	first := s.Refresh()
	f := store(t, s.URL("/token"), first)
	r := &Refresh{Store: f, HTTP: s}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := onDisk(t, f)
		fetched(t, s, r)
		if onDisk(t, f) == before {
			t.Fatal("the file holds the old token")
		}
	}
	got, _ := f.Load(t.Context())
	if got.Rotated.IsZero() {
		t.Error("the time of the rotation is not noted")
	}
	got.Refresh, got.Rotated = NewSecret(first), time.Time{}
	want := stored(s.URL("/token"), first)
	if got.Refresh.Reveal() != want.Refresh.Reveal() {
		t.Error("refresh")
	}
	got.Refresh, want.Refresh = Secret{}, Secret{}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if fi, _ := os.Stat(f.Path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
}

func TestWithoutRotationTheFileStays(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID})
	f := store(t, s.URL("/token"), s.Refresh())
	before, _ := os.ReadFile(f.Path)
	fetched(t, s, &Refresh{Store: f, HTTP: s})
	if after, _ := os.ReadFile(f.Path); string(after) != string(before) {
		t.Errorf("the file was written:\n%s", after)
	}
	form := s.Requests()[0].Form
	if form.Get("scope") != "SMTP.Send offline_access" || form.Get("client_id") != clientID ||
		form.Has("client_secret") {
		t.Errorf("asked %v", form)
	}
}

// TestManyProcesses: several sources share a file, and each refresh token may be used once.
func TestManyProcesses(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	f := store(t, s.URL("/token"), s.Refresh())
	var wg sync.WaitGroup
	for range 8 {
		r := &Refresh{Store: f, HTTP: s}
		wg.Go(func() {
			for range 3 {
				if _, err := r.Fetch(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(s.Requests()); n != 24 {
		t.Errorf("%d requests, want 24: some token was used twice", n)
	}
}

// TestFileOfAnotherClient: whoever changes the client id must log in again.
func TestFileOfAnotherClient(t *testing.T) {
	f := store(t, "https://login.test/token", "marked")
	for want, ok := range map[Stored]bool{
		{}: true, {ClientID: clientID}: true,
		{ClientID: clientID, TokenURL: "https://login.test/token"}: true,
		{ClientID: "other"}: false, {TokenURL: "https://login.test/other/token"}: false,
	} {
		if err := (&Refresh{Store: f, Want: want}).Check(); (err == nil) != ok {
			t.Errorf("%+v: %v", want, err)
		}
	}
}

// TestRotatedElsewhere: a process that the lock does not reach replaces the token while ours is refused.
func TestRotatedElsewhere(t *testing.T) {
	var f File
	var s *oauthtest.Server
	s = oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true, Once: true,
		Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N == 1 {
				s.RevokeRefresh()
				f.Save(t.Context(), stored(s.URL("/token"), s.Refresh()))
			}
			return nil
		}})
	f = store(t, s.URL("/token"), s.Refresh())
	fetched(t, s, &Refresh{Store: f, HTTP: s})
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestRevokedRefreshToken(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true})
	f := store(t, s.URL("/token"), s.Refresh())
	s.RevokeRefresh()
	before := onDisk(t, f)
	e := fetchError(t, &Refresh{Store: f, HTTP: s})
	if e.Reason != ReasonSignIn || e.Who != WhoLogin || len(s.Requests()) != 1 || onDisk(t, f) != before {
		t.Errorf("after %d requests: %+v", len(s.Requests()), e)
	}
}

// TestUnsavedRotation: the new token cannot be written. Access tokens are had all the same, each refresh
// token is used once, and the newest is written when that is possible again.
func TestUnsavedRotation(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	good := store(t, s.URL("/token"), s.Refresh())
	// a name so long that there is room for .lock behind it, but not for the name of the temporary file
	bad := File{Path: filepath.Join(filepath.Dir(good.Path), strings.Repeat("n", 250))}
	if err := os.Link(good.Path, bad.Path); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := &Refresh{Store: bad, HTTP: s, Log: slog.New(slog.NewTextHandler(&log, nil))}
	old := onDisk(t, bad)
	for range 3 {
		fetched(t, s, r)
		if onDisk(t, bad) != old {
			t.Fatal("it was written")
		}
	}
	if text := log.String(); !strings.Contains(text, "kept in memory") || strings.Contains(text, "marked") {
		t.Error(text)
	}
	r.Store = good
	fetched(t, s, r)
	fetched(t, s, &Refresh{Store: good, HTTP: s}) // as after a restart
}

// TestLoginDuringOutage: whoever logs in anew while a token could not be written is heard.
func TestLoginDuringOutage(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	good := store(t, s.URL("/token"), s.Refresh())
	bad := File{Path: filepath.Join(filepath.Dir(good.Path), strings.Repeat("n", 250))}
	os.Link(good.Path, bad.Path)
	r := &Refresh{Store: bad, HTTP: s}
	fetched(t, s, r)
	s.RevokeRefresh()
	r.Store = store(t, s.URL("/token"), s.Refresh())
	fetched(t, s, r)
}

func TestBadTokenFiles(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON": "marked-token", "version": `{"version":9,"refresh_token":"marked"}`,
		"no token": `{"version":1}`, "cut": `{"version":1,"refresh_token":"marked`,
		"URL": `{"version":1,"client_id":"c","token_url":"http://evil.test/","refresh_token":"marked"}`,
	} {
		r := &Refresh{Store: File{Path: write(t, "token.json", content)}}
		if e := fetchError(t, r); e.Reason != ReasonUnreadable || strings.Contains(e.Error(), "marked") {
			t.Errorf("%s: %+v", name, e)
		}
		if r.Check() == nil {
			t.Errorf("%s: Check finds nothing", name)
		}
	}
	e := fetchError(t, &Refresh{Store: File{Path: filepath.Join(t.TempDir(), "none.json")}})
	if !strings.Contains(e.Error(), "mailwhy auth login makes it") {
		t.Error(e)
	}
}

// TestLockEndsWithItsContext: whoever holds the lock may be slow.
func TestLockEndsWithItsContext(t *testing.T) {
	f := store(t, "https://login.test/token", "marked")
	unlock, err := f.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Refresh{Store: f}).Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestSweep: a writer that died left its file, with a token in it.
func TestSweep(t *testing.T) {
	f := store(t, "https://login.test/token", "marked")
	left := f.Path + ".tmp-DEAD"
	os.WriteFile(left, []byte("marked"), 0o600)
	if err := f.Save(t.Context(), stored("https://login.test/token", "marked-2")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%v, want that it is gone", err)
	}
}

// TestSeed: without a file the configured token is used, and a new one that comes of it makes the file, which
// goes before the configuration from then on.
func TestSeed(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	f := File{Path: filepath.Join(t.TempDir(), "token.json")}
	seed := stored(s.URL("/token"), s.Refresh())
	for range 2 { // the second one is the process after a restart: the seed is used up
		r := &Refresh{Store: f, HTTP: s, Seed: seed}
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		fetched(t, s, r)
		if onDisk(t, f) == seed.Refresh.Reveal() {
			t.Fatal("the new token is not on disk")
		}
	}
	if err := (&Refresh{Store: File{Path: f.Path + ".gone"}, HTTP: s}).Check(); err == nil {
		t.Error("neither a file nor a seed is a mistake")
	}
}
