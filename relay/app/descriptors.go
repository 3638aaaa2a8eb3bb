package app

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"mailwhy/config"
)

// What the process needs of file descriptors beside its clients and its upstream: the spool with its
// readers, logs, sockets, the control socket's and the scrapers' connections.
const ownDescriptors = 32

// perConnection are the descriptors of a connection, of a client or to the upstream: its socket, and the
// file of a large content.
const perConnection = 2

// storeDescriptors are those of the store of feedback: its connections to the database, and the lock.
const storeDescriptors = 16

// hookConnections is how many connections the webhooks take at a time. Providers wait and come again, so that
// they have a small share of what there is.
func hookConnections(limit int) int {
	return max(4, min(config.FeedbackConnections, limit/16))
}

// descriptorLimit is how many files the process may have open. Go's runtime has raised it as far as it could.
func descriptorLimit() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<30 {
		return 1 << 30
	}
	return int(l.Cur)
}

// fit is cfg with the numbers of connections lowered to what the limit of open files allows, so that no
// content is refused for want of a file, and a warning about each. The upstreams' connections come first,
// but take no more than half of what there is, in equal shares where that is not enough for all. cfg itself
// is not changed.
func fit(cfg *config.Config, limit int) *config.Config {
	c := *cfg
	c.Warnings = slices.Clone(cfg.Warnings)
	own := ownDescriptors
	if cfg.Feedback.On() {
		own += storeDescriptors
	}
	if cfg.Feedback.Listen != "" {
		own += hookConnections(limit)
	}
	spare := max(limit-own, 4*perConnection)
	spare -= fitUpstreams(&c, spare/2/perConnection, limit) * perConnection
	if most := spare / perConnection; c.SMTPD.MaxConnections > most {
		c.Warnings = append(c.Warnings, tooFew("smtpd.max_connections", c.SMTPD.MaxConnections, most, limit))
		c.SMTPD.MaxConnections = most
	}
	return &c
}

// fitUpstreams gives c upstreams that have most connections together, and returns how many they have.
func fitUpstreams(c *config.Config, most, limit int) (total int) {
	c.Upstream = maps.Clone(c.Upstream)
	wanted := 0
	for _, u := range c.Upstream {
		wanted += u.Concurrency
	}
	share := max(1, most/max(1, len(c.Upstream)))
	for _, name := range slices.Sorted(maps.Keys(c.Upstream)) {
		u := *c.Upstream[name]
		if wanted > most && u.Concurrency > share {
			c.Warnings = append(c.Warnings,
				tooFew("upstream."+name+".concurrency", u.Concurrency, share, limit))
			u.Concurrency = share
		}
		c.Upstream[name] = &u
		total += u.Concurrency
	}
	return total
}

func tooFew(setting string, wanted, fit, limit int) string {
	return fmt.Sprintf("%s is %d, but the limit of open files (%d) has room for %d, which is in force; "+
		"raise it with ulimit -n, LimitNOFILE= of systemd, or docker run --ulimit nofile=",
		setting, wanted, limit, fit)
}
