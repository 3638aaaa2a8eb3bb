package query

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/check"
	"mailwhy/relay/spool/postgres"
)

// checkSpool is how long the database may take to answer.
const checkSpool = 15 * time.Second

// CheckSpool asks the database of a spool that is elsewhere whether a promotion could lose mail.
func CheckSpool(ctx context.Context, cfg *config.Config) []check.Line {
	if !cfg.Spool.Shared() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkSpool)
	defer cancel()
	o := options.SharedSpool(cfg, slog.New(slog.DiscardHandler))
	d, err := postgres.CheckDurability(ctx, o)
	line := check.Line{Level: check.OK, Check: "spool"}
	switch {
	case err != nil:
		line.Level, line.Text = check.Failure, err.Error()
		line.Fix = "Correct spool.url, or start the database: no mail is accepted without it."
	case d.Problem == "":
		line.Text = "a commit waits for a standby: synchronous_standby_names is " + d.Names
		if d.Visible {
			line.Text = fmt.Sprintf("a commit waits for a standby: %d of %q are connected", d.Standby,
				d.Names)
		}
	default:
		line.Level, line.Text = check.Failure, "acknowledged mail could be lost: "+d.Problem
		line.Fix = "Give the server a synchronous standby, or set spool.durability to single."
		if o.Single {
			line.Level = check.Warning
			line.Fix = "Give the server a synchronous standby if that is not meant."
		}
	}
	return []check.Line{line}
}
