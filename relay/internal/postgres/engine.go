package postgres

import (
	"context"
	"fmt"
	"strings"
)

// oldest is the oldest PostgreSQL that is accepted, as server_version_num.
const oldest = 130000

// RefuseOthers refuses databases that speak PostgreSQL's protocol and do not keep all of its promises, and
// versions that are too old.
func (c *Config) RefuseOthers(ctx context.Context, conn *Conn) error {
	var version, number string
	err := conn.QueryRow(ctx, "select version(), current_setting('server_version_num')").Scan(&version,
		&number)
	if err != nil {
		return err
	}
	if name := imitation(version); name != "" {
		return fmt.Errorf("%s is not supported: its locks do not promise what the queue needs of"+
			" PostgreSQL's (FOR UPDATE SKIP LOCKED, advisory locks); use PostgreSQL itself", name)
	}
	var n int
	if _, err := fmt.Sscan(number, &n); err != nil || n < oldest {
		return fmt.Errorf("PostgreSQL %d or later is needed, and this is %s", oldest/10000, version)
	}
	return nil
}

// imitation is the name of a database that is not PostgreSQL, as its version tells; "" for PostgreSQL.
func imitation(version string) string {
	for _, name := range []string{"CockroachDB", "YugabyteDB"} {
		if strings.Contains(strings.ToLower(version), strings.ToLower(name)) {
			return name
		}
	}
	if strings.Contains(version, "-YB-") {
		return "YugabyteDB"
	}
	return ""
}

// Durability is what is known of the copies that a commit waits for.
type Durability struct {
	Names    string // synchronous_standby_names
	Standbys int    // synchronous ones that are connected
	Visible  bool   // the role may see the standbys: else Standbys is 0
	Synced   bool   // the server syncs its files (fsync)
}

// Problem is why a promotion, or a crash, could lose what was committed; "" if it could not.
func (d Durability) Problem() string {
	switch {
	case !d.Synced:
		return "the server does not sync its files: fsync is off"
	case d.Names == "":
		return "no commit waits for a standby: synchronous_standby_names is empty"
	case d.Visible && d.Standbys == 0:
		return fmt.Sprintf("no synchronous standby is connected (synchronous_standby_names is %q)", d.Names)
	}
	return ""
}

// Durability looks at the server.
func (c *Conn) Durability(ctx context.Context) (d Durability, err error) {
	err = c.QueryRow(ctx, `select current_setting('synchronous_standby_names'), 
		current_setting('fsync') = 'on',
		pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
		(select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum') 
			and state = 'streaming')`,
	).Scan(&d.Names, &d.Synced, &d.Visible, &d.Standbys)
	return d, err
}
