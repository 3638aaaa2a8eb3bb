package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/cluster/share"
)

// Options configure a Cluster. All fields are required, but Key.
type Options struct {
	URL         string // of the database; several hosts are tried in turn for the one that takes writes
	Name        string // of the cluster: the schema in the database
	Connections int    // most connections to the database
	Host        string // of this member, for people
	Version     string
	Heartbeat   time.Duration
	DeadAfter   time.Duration // without a beat a member is taken for dead; the same for all members
	Timeout     time.Duration // of a call
	Key         []byte        // that secrets are sealed with; nil: there are no secrets
	Log         *slog.Logger
}

// Cluster is a member of a cluster.
type Cluster struct {
	o    Options
	db   *engine
	id   string
	seal *seal // nil: there are no secrets

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	done sync.WaitGroup // the goroutines

	beating sync.Mutex // held during a beat

	mu       sync.Mutex
	left     bool
	beaten   time.Time       // when the last beat was sent that was answered
	heard    time.Time       // when its answer came
	clock    time.Time       // the engine's, before that
	accounts map[string]bool // that were taken from
	watching bool
	watches  []*watch
	changed  chan struct{} // wakes who looks for changes of the board
}

var _ relay.Coordination = (*Cluster)(nil)

// ErrLeft is returned after Leave.
var ErrLeft = errors.New("this member has left the cluster")

// Open joins a cluster, and makes its tables if there are none. Close ends it.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	seal, err := newSeal(o.Key)
	if err != nil {
		return nil, err
	}
	db, err := openEngine(ctx, &o)
	if err != nil {
		return nil, err
	}
	c := &Cluster{o: o, db: db, id: newID(o.Host), seal: seal, accounts: map[string]bool{},
		changed: make(chan struct{}, 1)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if err := c.beat(ctx); err != nil {
		db.pool.Close()
		return nil, err
	}
	c.done.Go(c.live)
	return c, nil
}

// newID is the identity of a new member.
func newID(host string) string {
	b := make([]byte, 8)
	rand.Read(b)
	return host + "-" + hex.EncodeToString(b)
}

// Self implements relay.Coordination.
func (c *Cluster) Self() string { return c.id }

// Suppressions is the suppression list that the members share.
func (c *Cluster) Suppressions() *Suppressions { return (*Suppressions)(c) }

// live sends the beats.
func (c *Cluster) live() {
	ticker := time.NewTicker(c.o.Heartbeat)
	defer ticker.Stop()
	var fault error
	for n := 1; ; n++ {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		err := c.beat(c.ctx)
		if err == nil && n%100 == 0 {
			err = c.prune(c.ctx)
		}
		switch {
		case c.in() != nil:
			return
		case err != nil && fault == nil:
			c.o.Log.Warn("the cluster's database cannot be reached", "err", err)
		case err == nil && fault != nil:
			c.o.Log.Info("the cluster's database can be reached again")
		}
		fault = err
	}
}

// beat says that this member lives.
func (c *Cluster) beat(ctx context.Context) error {
	c.beating.Lock()
	defer c.beating.Unlock()
	if err := c.in(); err != nil {
		return err
	}
	var clock time.Time
	sent := time.Now()
	_, err := c.db.row(ctx, `
		INSERT INTO @.member AS m (id, host, version, since, beat, until)
		SELECT $1, $2, $3, t, t, t + $4::bigint * interval '1 microsecond' FROM clock_timestamp() t
		ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, until = excluded.until
		RETURNING beat, set_config('synchronous_commit', 'off', true)`,
		[]any{c.id, c.o.Host, c.o.Version, micros(c.o.DeadAfter)}, &clock, new(string))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beaten, c.heard, c.clock = sent, time.Now(), clock
	return nil
}

// expiry is when a call that begins now has been given up, by the engine's clock or a little earlier. A
// statement that is carried out later, since the server or the network stood still, is to do nothing: what
// was called meanwhile goes before.
func (c *Cluster) expiry() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.Add(time.Since(c.heard) + c.o.Timeout)
}

// until is when this member's share is over, unless it beats again.
func (c *Cluster) until() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.beaten.Add(c.o.DeadAfter * 2 / 3)
}

// in returns an error for a member that has left.
func (c *Cluster) in() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left || c.ctx.Err() != nil {
		return ErrLeft
	}
	return nil
}

// alive makes sure that the others take this member for alive.
func (c *Cluster) alive(ctx context.Context) error {
	if err := c.in(); err != nil {
		return err
	}
	if time.Now().Before(c.until()) {
		return nil
	}
	return c.beat(ctx)
}

// pruned are the statements that remove what is of no more use: one for each table, of few rows at a time.
// They wait for no lock.
var pruned = []string{
	`DELETE FROM @.member WHERE id IN (SELECT id FROM @.member
		WHERE until < clock_timestamp() - interval '1 day' LIMIT 100 FOR UPDATE SKIP LOCKED)`,
	`DELETE FROM @.account WHERE name IN (SELECT name FROM @.account
		WHERE until < clock_timestamp() LIMIT 100 FOR UPDATE SKIP LOCKED)`,
	`DELETE FROM @.board WHERE name IN (SELECT name FROM @.board
		WHERE body = '' AND at < clock_timestamp() - interval '1 day'
		OR until < clock_timestamp() - interval '1 day' LIMIT 100 FOR UPDATE SKIP LOCKED)`,
	`DELETE FROM @.suppression WHERE key IN (SELECT key FROM @.suppression
		WHERE until < clock_timestamp() ORDER BY until LIMIT 1000 FOR UPDATE SKIP LOCKED)`,
}

// prune removes what is of no more use.
func (c *Cluster) prune(ctx context.Context) error {
	for _, statement := range pruned {
		if _, err := c.db.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Members implements relay.Coordination.
func (c *Cluster) Members(ctx context.Context) (members []relay.Member, err error) {
	states, err := c.states(ctx)
	if err != nil {
		return nil, err
	}
	err = c.db.rows(ctx, `
		SELECT id, host, version, since, (extract(epoch FROM clock_timestamp() - beat) * 1e6)::bigint
		FROM @.member WHERE until > clock_timestamp() ORDER BY id`, nil, func(r pgx.CollectableRow) error {
		m := relay.Member{Connections: map[string]int{}}
		var beat int64
		if err := r.Scan(&m.ID, &m.Host, &m.Version, &m.Since, &beat); err != nil {
			return err
		}
		m.Beat = time.Duration(beat) * time.Microsecond
		for name, s := range states {
			if u := s.Members[m.ID]; u != nil && u.Allowed > 0 {
				m.Connections[name] = u.Allowed
			}
		}
		members = append(members, m)
		return nil
	})
	return members, err
}

// states are the accounts of the cluster.
func (c *Cluster) states(ctx context.Context) (map[string]*share.State, error) {
	if err := c.in(); err != nil {
		return nil, err
	}
	states := map[string]*share.State{}
	err := c.db.rows(ctx, `SELECT name, state FROM @.account`, nil, func(r pgx.CollectableRow) error {
		var name, text string
		if err := r.Scan(&name, &text); err != nil {
			return err
		}
		s, err := parseState(name, text)
		states[name] = s
		return err
	})
	return states, err
}

// Leave implements relay.Coordination.
func (c *Cluster) Leave(ctx context.Context) error {
	c.beating.Lock() // no beat makes it a member again
	defer c.beating.Unlock()
	c.mu.Lock()
	left, accounts := c.left, slices.Collect(maps.Keys(c.accounts))
	c.mu.Unlock()
	if left {
		return ErrLeft
	}
	for _, name := range accounts {
		if err := c.leaveAccount(ctx, name); err != nil {
			return err
		}
	}
	for _, statement := range []string{
		"UPDATE @.duty SET until = clock_timestamp() WHERE holder = $1 AND until > clock_timestamp()",
		"DELETE FROM @.member WHERE id = $1",
	} {
		if _, err := c.db.exec(ctx, statement, c.id); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	return nil
}

// Close ends what runs and closes the connections. A member that did not leave is taken for dead some time
// later.
func (c *Cluster) Close() {
	c.stop()
	c.done.Wait()
	c.db.pool.Close()
}
