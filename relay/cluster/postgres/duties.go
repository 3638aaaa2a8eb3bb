package postgres

import (
	"context"
	"time"
)

// Hold implements relay.Duties.
func (c *Cluster) Hold(ctx context.Context, duty string, lasts time.Duration) (epoch int64, ok bool,
	err error) {
	if err := c.alive(ctx); err != nil {
		return 0, false, err
	}
	ok, err = c.db.row(ctx, `
		INSERT INTO @.duty AS d (name, holder, epoch, until)
		SELECT $1, $2, 1, t + $3::bigint * interval '1 microsecond' FROM clock_timestamp() t
		WHERE t < $4::timestamptz
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
			epoch = d.epoch + CASE WHEN d.holder = $2 AND d.until > clock_timestamp() THEN 0 ELSE 1 END
		WHERE clock_timestamp() < $4 AND (d.holder = $2 OR d.until <= clock_timestamp() OR NOT EXISTS
			(SELECT FROM @.member m WHERE m.id = d.holder AND m.until > clock_timestamp()))
		RETURNING epoch, set_config('synchronous_commit', 'local', true)`,
		[]any{duty, c.id, micros(lasts), c.expiry()}, &epoch, new(string))
	return epoch, ok, err
}

// Drop implements relay.Duties.
func (c *Cluster) Drop(ctx context.Context, duty string, epoch int64) error {
	if err := c.in(); err != nil {
		return err
	}
	_, err := c.db.exec(ctx, `UPDATE @.duty SET until = clock_timestamp()
		WHERE name = $1 AND holder = $2 AND epoch = $3 AND until > clock_timestamp()`, duty, c.id, epoch)
	return err
}
