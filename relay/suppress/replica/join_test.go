package replica_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/suppress"
)

// exec changes the database behind the replicas' backs.
func (s *scene) exec(sql string) {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close(s.t.Context())
	if _, err := c.Exec(s.t.Context(), sql); err != nil {
		s.t.Fatal(err)
	}
}

// shared is how many entries the shared list has.
func (s *scene) shared() (n int) {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close(s.t.Context())
	if err := c.QueryRow(s.t.Context(), "SELECT count(*) FROM mail.suppression").Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// many has the operator add n addresses.
func (n *node) many(count int) {
	var entries []relay.Suppression
	for i := range count {
		entries = append(entries, relay.Suppression{Address: fmt.Sprintf("a%d@dead.test", i), Reply: unknown})
	}
	n.puts(entries...)
}

// TestNewReplica: one that comes later has everything, and so has one that has lost its disk.
func TestNewReplica(t *testing.T) {
	s := newScene(t)
	one := s.node()
	one.many(10_000)
	begun := time.Now()
	for n := 1000; n <= 10_000; n += 1000 {
		smtptest.WaitFor(t, "more is shared", func() bool { return s.shared() >= n })
	}
	shared := time.Since(begun)
	begun = time.Now()
	two := s.node()
	for n := int64(1000); n <= 10_000; n += 1000 {
		smtptest.WaitFor(t, "the new one has more", func() bool {
			return two.list.State().Entries[suppress.ReasonManual] >= n
		})
	}
	t.Logf("10,000 entries are shared in %v, and a new replica has them in %v", shared, time.Since(begun))
	agree(t, one, two)
}

// TestListsOfTheirOwn: replicas that had lists before they shared one have both in the end.
func TestListsOfTheirOwn(t *testing.T) {
	s := newScene(t)
	one, two := s.prepare(), s.prepare()
	for i, n := range []*node{one, two} {
		n.open()
		n.puts(relay.Suppression{Address: fmt.Sprintf("own%d@dead.test", i)},
			relay.Suppression{Address: "both@dead.test", Note: fmt.Sprint(i)})
		if err := n.list.Close(); err != nil {
			t.Fatal(err)
		}
	}
	one.start()
	two.start()
	smtptest.WaitFor(t, "both have three", func() bool {
		return one.list.State().Entries[suppress.ReasonManual] == 3 &&
			two.list.State().Entries[suppress.ReasonManual] == 3
	})
	agree(t, one, two)
}

// TestSharedListLost: where the tables were made anew, nothing is lost that a replica still has.
func TestSharedListLost(t *testing.T) {
	s := newScene(t)
	one, two := s.node(), s.node()
	one.many(10)
	smtptest.WaitFor(t, "it is known", func() bool { return two.suppresses("a9@dead.test") })
	s.exec(`TRUNCATE mail.suppression;
		UPDATE mail.counter SET n = 0, id = 'another' WHERE what = 'suppression'`)
	three := s.node()
	smtptest.WaitFor(t, "it is known again", func() bool { return three.suppresses("a9@dead.test") })
	three.removes("a9@dead.test")
	smtptest.WaitFor(t, "it is removed", func() bool {
		return !one.suppresses("a9@dead.test") && !two.suppresses("a9@dead.test")
	})
	agree(t, one, two, three)
}

// TestLongAway: a replica that was away for longer than removals are remembered does not keep what was
// removed.
func TestLongAway(t *testing.T) {
	s := newScene(t)
	one, two := s.node(), s.node()
	one.puts(relay.Suppression{Address: "gone@dead.test"}, relay.Suppression{Address: "stays@dead.test"})
	smtptest.WaitFor(t, "it is known", func() bool { return two.suppresses("gone@dead.test") })
	two.away(true)
	one.removes("gone@dead.test")
	smtptest.WaitFor(t, "the removal is shared", func() bool {
		p, err := one.list.Place(t.Context())
		return err == nil && p.Version == 3
	})
	s.exec("DELETE FROM mail.suppression WHERE version = 3") // long ago
	two.stop()
	s.ahead.Store(int64(200 * 24 * time.Hour))
	two.away(false)
	two.start()
	smtptest.WaitFor(t, "it is gone", func() bool {
		return !two.suppresses("gone@dead.test") && two.suppresses("stays@dead.test")
	})
}

// TestAnyOrder: whatever happens to whom and when, all lists are alike in the end.
func TestAnyOrder(t *testing.T) {
	s := newScene(t)
	nodes := []*node{s.node(), s.node(), s.node()}
	for range 150 {
		n := nodes[rand.IntN(len(nodes))]
		to := fmt.Sprintf("a%d@dead.test", rand.IntN(8))
		switch rand.IntN(12) {
		case 0, 1, 2:
			n.puts(relay.Suppression{Address: to, Note: fmt.Sprint(rand.Int())})
		case 3, 4:
			n.removes(to)
		case 5, 6, 7:
			n.learns(relay.EventFailed, to)
		case 8, 9:
			n.learns(relay.EventRelayed, to)
		case 10:
			n.away(true)
		case 11:
			n.away(false)
		}
	}
	for i, n := range nodes {
		n.away(false)
		n.puts(relay.Suppression{Address: fmt.Sprintf("last%d@dead.test", i)})
	}
	for _, n := range nodes {
		smtptest.WaitFor(t, "the last ones are known", func() bool {
			return n.suppresses("last0@dead.test") && n.suppresses("last1@dead.test") &&
				n.suppresses("last2@dead.test")
		})
	}
	agree(t, nodes...)
}
