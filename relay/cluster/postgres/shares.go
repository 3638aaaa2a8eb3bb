package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/cluster/share"
)

// conflictWait is how long a call waits at most before it tries again after another member was faster; it
// grows with each try.
const conflictWait = 4 * time.Millisecond

// Take implements relay.Shares.
func (c *Cluster) Take(ctx context.Context, q relay.ShareQuery) (s relay.Share, err error) {
	if err := c.alive(ctx); err != nil {
		return s, err
	}
	c.mu.Lock()
	c.accounts[q.Account] = true
	c.mu.Unlock()
	mode := "off"
	if q.Exact {
		mode = "local"
	}
	err = c.account(ctx, q.Account, q.Per, mode, func(a *account) {
		s = a.state.Take(a.now, c.id, a.died, &q)
	})
	s.Until = c.until()
	return s, err
}

// leaveAccount gives back what this member has of an account.
func (c *Cluster) leaveAccount(ctx context.Context, name string) error {
	return c.account(ctx, name, 0, "local", func(a *account) { a.state.Leave(a.now, c.id) })
}

// account is an account as it was read.
type account struct {
	now     time.Time // by the engine's clock
	version int64
	state   share.State
	members map[string]time.Time // and when they are taken for dead
}

// died implements share.Died. A member of whom nothing is known any more has left, or died long ago.
func (a *account) died(member string) (time.Time, bool) {
	until, known := a.members[member]
	if !known {
		return a.now, true
	}
	return until, !until.After(a.now)
}

// account has do change an account: it is read, changed, and written if nobody has written it meanwhile.
func (c *Cluster) account(ctx context.Context, name string, per time.Duration, mode string,
	do func(*account)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errSlow)
	defer cancel()
	for try := 1; ; try++ {
		a, err := c.readAccount(ctx, name)
		if err != nil {
			return err
		}
		do(a)
		written, err := c.writeAccount(ctx, name, a, per, mode)
		if err != nil || written {
			return err
		}
		select {
		case <-time.After(rand.N(conflictWait * time.Duration(min(try, 8)))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// readAccount reads an account, and who is a member.
func (c *Cluster) readAccount(ctx context.Context, name string) (*account, error) {
	a := &account{members: map[string]time.Time{}}
	var ids []string
	var untils []time.Time
	var version *int64
	var state *string
	_, err := c.db.row(ctx, `
		SELECT t, a.version, a.state, ARRAY(SELECT id FROM @.member ORDER BY id),
			ARRAY(SELECT until FROM @.member ORDER BY id)
		FROM clock_timestamp() t LEFT JOIN @.account a ON a.name = $1`, []any{name},
		&a.now, &version, &state, &ids, &untils)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		a.members[id] = untils[i]
	}
	if version == nil {
		return a, nil
	}
	a.version = *version
	s, err := parseState(name, *state)
	if err == nil {
		a.state = *s
	}
	return a, err
}

// parseState reads a state as it is stored.
func parseState(name, text string) (*share.State, error) {
	s := new(share.State)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("account %s: %w", name, err)
	}
	return s, nil
}

// writeAccount writes an account, unless it has been written since it was read.
func (c *Cluster) writeAccount(ctx context.Context, name string, a *account, per time.Duration,
	mode string) (written bool, err error) {
	text, err := json.Marshal(&a.state)
	if err != nil {
		return false, err
	}
	return c.db.row(ctx, `
		INSERT INTO @.account AS a (name, version, state, until)
		VALUES ($1, $2::bigint + 1, $3,
			clock_timestamp() + interval '2 days' + $4::bigint * interval '1 microsecond')
		ON CONFLICT (name) DO UPDATE SET version = excluded.version, state = excluded.state,
			until = greatest(a.until, excluded.until) WHERE a.version = $2
		RETURNING set_config('synchronous_commit', $5, true)`,
		[]any{name, a.version, string(text), micros(per), mode}, new(string))
}
