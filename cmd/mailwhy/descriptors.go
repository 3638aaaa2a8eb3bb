package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"mailwhy/config"
)

// What the process needs of file descriptors beside its clients and its upstream: the spool with its readers, logs, sockets,
// the control socket's and the scrapers' connections.
const ownDescriptors = 32

// perConnection are the descriptors of a connection, of a client or to the upstream: its socket, and the file of a large content.
const perConnection = 2

// descriptorLimit is how many files the process may have open. Go's runtime has raised it as far as it could.
func descriptorLimit() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<30 {
		return 1 << 30
	}
	return int(l.Cur)
}

// fitDescriptors lowers the numbers of connections to what the limit of open files allows, so that no content is refused
// for want of a file, and warns of each. The upstream's connections come first, but take no more than half of what there is.
func fitDescriptors(cfg *config.Config, limit int) {
	spare := max(limit-ownDescriptors, 4*perConnection)
	_, u := theUpstream(cfg)
	if fit := spare / 2 / perConnection; u != nil && u.Concurrency > fit {
		cfg.Warnings = append(cfg.Warnings, tooFew("the upstream's concurrency", u.Concurrency, fit, limit))
		u.Concurrency = fit
	}
	if u != nil {
		spare -= u.Concurrency * perConnection
	}
	c := &cfg.SMTPD
	if fit := spare / perConnection; c.MaxConnections > fit {
		cfg.Warnings = append(cfg.Warnings, tooFew("smtpd.max_connections", c.MaxConnections, fit, limit))
		c.MaxConnections = fit
	}
}

func tooFew(setting string, wanted, fit, limit int) string {
	return fmt.Sprintf("%s is %d, but the limit of open files (%d) has room for %d, which is in force; raise it with "+
		"ulimit -n, LimitNOFILE= of systemd, or docker run --ulimit nofile=", setting, wanted, limit, fit)
}
