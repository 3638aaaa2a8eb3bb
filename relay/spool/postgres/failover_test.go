package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
)

// pair is a primary with a synchronous standby, and options for both.
func pair(t *testing.T) (primary, standby *postgrestest.Server, o Options) {
	primary = postgrestest.New(t, postgrestest.Options{})
	standby = primary.Standby(t)
	o = testOptions(t, primary.URL("postgres", standby))
	o.Single, o.CommitTimeout = false, 2*time.Second
	return primary, standby, o
}

// testMessage is a message of a test, due at once.
func testMessage() *relay.Message {
	now := time.Now()
	return &relay.Message{
		ID: relay.NewID(now), Lane: "provider", Arrived: now,
		Envelope:   relay.Envelope{From: "app@sender.example"},
		Recipients: []relay.Recipient{{Address: "a@there.example", State: relay.Queued, NextAttempt: now}},
	}
}

// putOne stores a message whose content is its id.
func putOne(s *Spool) (id string, err error) {
	m := testMessage()
	return m.ID, s.Put(context.Background(), []*relay.Message{m}, strings.NewReader(m.ID))
}

// leaseAll leases what is due.
func leaseAll(s *Spool, max int) ([]relay.Lease, error) {
	ls, _, err := s.Lease(context.Background(), relay.LeaseQuery{
		Lane: "provider", Now: time.Now(), Max: max, For: time.Minute,
	})
	return ls, err
}

// relayed settles a lease as relayed.
func relayed(s *Spool, l relay.Lease) error {
	l.Message.Recipients[0].State = relay.Relayed
	return s.Settle(context.Background(), l.Token, relay.Settlement{Recipients: l.Message.Recipients})
}

// TestCancelledCommit is trap 2: while a commit waits for the standby somebody cancels it, upon which the
// server says that it has succeeded. Put must not. What there is of it is removed when the standby is back.
func TestCancelledCommit(t *testing.T) {
	primary, standby, o := pair(t)
	s := openTest(t, o)
	if _, err := putOne(s); err != nil {
		t.Fatal(err)
	}
	standby.Freeze()
	stop := make(chan struct{})
	var canceller sync.WaitGroup
	canceller.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				primary.Exec(context.Background(),
					"select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
			}
		}
	})
	id, err := putOne(s)
	close(stop)
	canceller.Wait()
	if !errors.Is(err, relay.ErrUnavailable) || !errors.Is(err, postgres.ErrInDoubt) {
		t.Errorf("Put while the commit is cancelled: %v", err)
	}
	begin := time.Now()
	if err := s.Admit(); !errors.Is(err, relay.ErrUnavailable) {
		t.Errorf("Admit while the standby is frozen: %v", err)
	}
	if _, err := putOne(s); !errors.Is(err, relay.ErrUnavailable) || time.Since(begin) > o.CommitTimeout/2 {
		t.Errorf("Put after %v: %v", time.Since(begin), err)
	}
	if _, err := leaseAll(s, 10); !errors.Is(err, relay.ErrUnavailable) {
		t.Errorf("Lease: %v", err)
	}
	standby.Thaw()
	smtptest.WaitFor(t, "mail to be accepted", func() bool { return s.Admit() == nil })
	smtptest.WaitFor(t, "the refused mail to be removed", func() bool {
		_, err := s.Content(t.Context(), id)
		return errors.Is(err, relay.ErrNotFound)
	})
	if _, err := putOne(s); err != nil {
		t.Error(err)
	}
}

// TestStandbyAway is trap 3: commits that wait for a standby wait for ever. Put does not, the server is not
// filled with waiting sessions, settlements are kept, and all goes on when the standby is back.
func TestStandbyAway(t *testing.T) {
	primary, standby, o := pair(t)
	s := openTest(t, o)
	if _, err := putOne(s); err != nil {
		t.Fatal(err)
	}
	ls, err := leaseAll(s, 1)
	if err != nil || len(ls) != 1 {
		t.Fatalf("%d leases, %v", len(ls), err)
	}
	standby.Freeze()
	settled := make(chan error, 1)
	go func() { settled <- relayed(s, ls[0]) }()
	begin := time.Now()
	if _, err := putOne(s); !errors.Is(err, relay.ErrUnavailable) || time.Since(begin) > 2*o.CommitTimeout {
		t.Errorf("Put after %v: %v", time.Since(begin), err)
	}
	time.Sleep(2 * o.CommitTimeout) // several tries
	sessions := primary.MustExec(t,
		"select count(*) from pg_stat_activity where application_name = 'mailwhy'")
	if n, err := strconv.Atoi(sessions); err != nil || n > o.Connections {
		t.Errorf("the server has %s sessions of ours", sessions)
	}
	if err := s.alive(); err != nil {
		t.Errorf("the heartbeat waits for the standby: %v", err)
	}
	select {
	case err := <-settled:
		t.Errorf("Settle returned %v", err)
	default:
	}
	standby.Thaw()
	if err := <-settled; err != nil {
		t.Error(err)
	}
	smtptest.WaitFor(t, "mail to be accepted", func() bool { _, err := putOne(s); return err == nil })
}

// TestClaimsComeBack: a claim that cannot be given back since the server does not answer, and one of which it
// is not known whether it was made, are not in the way until they lapse.
func TestClaimsComeBack(t *testing.T) {
	server := postgrestest.New(t, postgrestest.Options{})
	o := testOptions(t, server.URL("postgres"))
	o.CommitTimeout = 2 * time.Second
	s := openTest(t, o)
	id, err := putOne(s)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := leaseAll(s, 1)
	if err != nil || len(ls) != 1 {
		t.Fatalf("%d leases, %v", len(ls), err)
	}
	ls[0].Message.Recipients[0].State = relay.Failed
	owed := relay.Entry{Message: id, Topic: relay.TopicReport, Key: "failed/0", Due: time.Now()}
	if err := s.Settle(t.Context(), ls[0].Token, relay.Settlement{
		Recipients: ls[0].Message.Recipients, Owed: []relay.Entry{owed},
	}); err != nil {
		t.Fatal(err)
	}
	claim := func() []relay.Claim {
		ctx, cancel := context.WithTimeout(t.Context(), o.CommitTimeout)
		defer cancel()
		cs, _, _ := s.Claim(ctx, relay.ClaimQuery{
			Topic: relay.TopicReport, Now: time.Now(), Max: 1, For: time.Hour,
		})
		return cs
	}
	var got []relay.Claim
	smtptest.WaitFor(t, "the claim", func() bool { got = claim(); return len(got) == 1 })
	server.Freeze()
	s.GiveBack(got[0].Token)
	server.Thaw()
	smtptest.WaitFor(t, "the claim that was given back", func() bool { got = claim(); return len(got) == 1 })
	s.GiveBack(got[0].Token)
	server.Freeze()
	if cs := claim(); len(cs) > 0 {
		t.Error("a frozen server gave a claim")
	}
	server.Thaw()
	smtptest.WaitFor(t, "the claim in doubt", func() bool { return len(claim()) == 1 })
}

// TestAllWereAway: when the database was away for longer than a process may be, nobody takes over from the
// others before they could say that they live: what they did meanwhile is settled.
func TestAllWereAway(t *testing.T) {
	server := postgrestest.New(t, postgrestest.Options{})
	o := testOptions(t, server.URL("postgres"))
	var spools []*Spool
	var leases []relay.Lease
	for range 3 {
		s := openTest(t, o)
		if _, err := putOne(s); err != nil {
			t.Fatal(err)
		}
		var ls []relay.Lease
		smtptest.WaitFor(t, "a lease", func() bool { ls, _ = leaseAll(s, 1); return len(ls) == 1 })
		spools, leases = append(spools, s), append(leases, ls[0])
	}
	server.Stop()
	time.Sleep(o.DeadAfter * 3 / 2)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for i, s := range spools {
		if err := relayed(s, leases[i]); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
}

// TestRefusesWithoutStandby: a server that could lose mail is accepted only if that is meant.
func TestRefusesWithoutStandby(t *testing.T) {
	o := testOptions(t, postgrestest.Database(t))
	o.Single = false
	if s, err := Open(t.Context(), o); err == nil {
		s.Close()
		t.Fatal("opened a spool without a standby")
	} else if !strings.Contains(err.Error(), "fsync is off") || !strings.Contains(err.Error(), "single") {
		t.Error(err)
	}
	o.Single = true
	s := openTest(t, o)
	if d := s.Durability(); d.Problem == "" {
		t.Errorf("%+v", d)
	}
}

// TestFailover kills the primary with kill -9 under load, and promotes the standby. All that was
// acknowledged is there or was relayed, nothing was leased twice at a time, and mail is accepted again
// soon.
func TestFailover(t *testing.T) {
	primary, standby, o := pair(t)
	o.CommitTimeout = 10 * time.Second
	s := openTest(t, o)
	l := &load{s: s, acknowledged: map[string]bool{}, relayed: map[string]int{}, refused: map[string]bool{}}
	l.start(t)
	smtptest.WaitFor(t, "some mail", func() bool { return l.count() > 200 })
	primary.Kill()
	standby.Promote(t)
	promoted, before := time.Now(), l.count()
	smtptest.WaitFor(t, "mail to be accepted after the promotion",
		func() bool { return l.count() > before+100 })
	t.Logf("100 messages more %v after the promotion", time.Since(promoted).Round(time.Millisecond))
	l.stop()
	smtptest.WaitFor(t, "the queue to be empty", func() bool {
		l.relay(t)
		st, err := s.Stat(t.Context())
		return err == nil && st.Messages == 0
	})
	t.Logf("%d acknowledged, %d relayed, %d refused", len(l.acknowledged), len(l.relayed), len(l.refused))
	for id := range l.acknowledged {
		if l.relayed[id] == 0 {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	for id, n := range l.relayed {
		if n > 1 {
			t.Errorf("%s was offered %d times", id, n)
		}
	}
}

// load puts and relays mail.
type load struct {
	s       *Spool
	work    sync.WaitGroup
	stopped chan struct{}

	mu           sync.Mutex
	acknowledged map[string]bool
	refused      map[string]bool
	relayed      map[string]int
}

func (l *load) start(t *testing.T) {
	l.stopped = make(chan struct{})
	for range 10 {
		l.work.Go(func() {
			for l.runs() {
				id, err := putOne(l.s)
				l.mu.Lock()
				if err == nil {
					l.acknowledged[id] = true
				} else {
					l.refused[id] = true
				}
				l.mu.Unlock()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	for range 10 {
		l.work.Go(func() {
			for l.runs() {
				l.relay(t)
			}
		})
	}
}

// runs reports whether the load goes on.
func (l *load) runs() bool {
	select {
	case <-l.stopped:
		return false
	default:
		return true
	}
}

func (l *load) stop() {
	close(l.stopped)
	l.work.Wait()
}

// count is how many messages were acknowledged.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged)
}

// relay relays a few messages. All settlements must succeed: nobody has taken over.
func (l *load) relay(t *testing.T) {
	ls, _ := leaseAll(l.s, 3)
	if len(ls) == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, le := range ls {
		l.mu.Lock()
		l.relayed[le.Message.ID]++
		l.mu.Unlock()
		if err := relayed(l.s, le); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
}

// openTest opens a spool until the test ends.
func openTest(t testing.TB, o Options) *Spool {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
