package oauth

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mailwhy/relay/cluster/postgres"
	"mailwhy/relay/smtptest/oauthtest"
	"mailwhy/relay/smtptest/postgrestest"
)

// member joins a cluster in a database.
func member(t *testing.T, database string) *postgres.Cluster {
	t.Helper()
	c, err := postgres.Open(t.Context(), postgres.Options{URL: database, Name: "mail", Connections: 4,
		Host: "host", Version: "test", Heartbeat: 200 * time.Millisecond, DeadAfter: 2 * time.Second,
		Timeout: 20 * time.Second, Key: []byte("a key of tests that is long enough for it"),
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// sharing is what a member has in common with the others.
func sharing(c *postgres.Cluster) *Shared {
	return &Shared{Upstream: "m365", Secrets: c, Duties: c, Log: slog.New(slog.DiscardHandler)}
}

// replica is a member's source of the tokens that the file began.
func replica(c *postgres.Cluster, f File, s *oauthtest.Server) Source {
	share := sharing(c)
	return share.Source(&Refresh{Store: share.Store(f), HTTP: s})
}

// TestSharedAccess: of all replicas one asks the endpoint, once for each token, and they agree when it ends.
func TestSharedAccess(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	database, f := postgrestest.Database(t), store(t, s.URL("/token"), s.Refresh())
	var sources []Source
	for range 4 {
		sources = append(sources, replica(member(t, database), f, s))
	}
	for round := 1; round <= 3; round++ { // from the second on, since the endpoint refused the one before
		tokens := make([]Token, len(sources))
		var works sync.WaitGroup
		for i, source := range sources {
			works.Go(func() {
				token, err := source.Fetch(t.Context())
				if err != nil {
					t.Error(err)
				}
				tokens[i] = token
			})
		}
		works.Wait()
		for _, token := range tokens {
			apart := token.Expires.Sub(tokens[0].Expires).Abs()
			if token.Access.Reveal() != tokens[0].Access.Reveal() || apart > 5*time.Second {
				t.Errorf("round %d: the tokens differ, their ends by %v", round, apart)
			}
		}
		if n := len(s.Requests()); n != round {
			t.Errorf("round %d: the endpoint was asked %d times", round, n)
		}
		if !s.Valid(tokens[0].Access.Reveal()) {
			t.Error("the token is not the endpoint's")
		}
	}
}

// TestSharedRotation: each replica goes on with what another was given in place of the token that may be used
// once, also without its own file's being right; a later login replaces it for all.
func TestSharedRotation(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Rotate: true, Once: true})
	database, f := postgrestest.Database(t), store(t, s.URL("/token"), s.Refresh())
	one, two := replica(member(t, database), f, s), replica(member(t, database), f, s)
	for range 3 {
		fetched(t, s, one)
		fetched(t, s, one)
		fetched(t, s, two)
		fetched(t, s, two)
	}
	fetched(t, s, one) // which has it from the other
	s.RevokeRefresh()
	if e := fetchError(t, one); e.Reason != ReasonSignIn {
		t.Errorf("after the login was revoked: %v", e)
	}
	s.AddRefresh("new")
	login := stored(s.URL("/token"), "new")
	login.LoggedIn = time.Now()
	if err := f.Save(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	fetched(t, s, one)
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	fetched(t, s, two)
	three := replica(member(t, database), File{Path: filepath.Join(t.TempDir(), "none.json")}, s)
	fetched(t, s, three)
	fetched(t, s, three)
}

// TestSharedDead: a replica that dies while it asks the endpoint holds the others up until it is taken for
// dead.
func TestSharedDead(t *testing.T) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Rotate: true,
		Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N == 1 {
				close(arrived)
				<-hold
				return &oauthtest.Answer{Close: true}
			}
			return nil
		}})
	database, f := postgrestest.Database(t), store(t, s.URL("/token"), s.Refresh())
	dying := member(t, database)
	ended := make(chan error, 1)
	go func() {
		_, err := replica(dying, f, s).Fetch(t.Context())
		ended <- err
	}()
	<-arrived
	dying.Close()
	begun := time.Now()
	fetched(t, s, replica(member(t, database), f, s))
	t.Logf("after %v", time.Since(begun))
	close(hold)
	if err := <-ended; err == nil {
		t.Error("the dead one has a token")
	}
}

// TestSharedAway: without the database there is a fault that says so, and no token of one's own.
func TestSharedAway(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Rotate: true})
	server := postgrestest.New(t, postgrestest.Options{NoSync: true})
	f := store(t, s.URL("/token"), s.Refresh())
	source := replica(member(t, server.URL("postgres")), f, s)
	server.Kill()
	e := fetchError(t, source)
	if e.Reason != ReasonUnavailable || !e.Temporary || len(s.Requests()) != 0 {
		t.Errorf("%+v, after %d requests", e, len(s.Requests()))
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	fetched(t, s, source)
}

// TestSharedLeaseLost: who has lost its lease replaces nothing that another has stored since.
func TestSharedLeaseLost(t *testing.T) {
	database := postgrestest.Database(t)
	f := File{Path: filepath.Join(t.TempDir(), "none.json")}
	one, two := sharing(member(t, database)).Store(f), sharing(member(t, database)).Store(f)
	for _, s := range []Store{one, two} {
		if _, err := s.Load(t.Context()); err == nil {
			t.Fatal("there is a token already")
		}
	}
	if err := one.Save(t.Context(), stored("https://login.test/token", "first")); err != nil {
		t.Fatal(err)
	}
	err := two.Save(t.Context(), stored("https://login.test/token", "second"))
	if !errors.Is(err, os.ErrExist) {
		t.Errorf("the second replaces the first: %v", err)
	}
	if got, err := two.Load(t.Context()); err != nil || got.Refresh.Reveal() != "first" {
		t.Errorf("stored is %q, %v", got.Refresh.Reveal(), err)
	}
}
