package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"mailwhy/config/value"
)

// Cluster is what the relays share that send through the same accounts. It is off while URL is empty.
type Cluster struct {
	URL     value.Secret `toml:"url"` // of a PostgreSQL database; spool.url when empty and the spool is there
	URLFile string       `toml:"url_file"`
	Name    string       `toml:"name"` // of the schema: relays of one name belong together
	// Heartbeat is how often a relay says that it lives; after DeadAfter without it others take over.
	Heartbeat  time.Duration `toml:"heartbeat" min:"500ms" max:"1m"`
	DeadAfter  time.Duration `toml:"dead_after" min:"3s" max:"10m"`
	SecretFile string        `toml:"secret_file" read:"secret"` // the key by which tokens are sealed
}

// On reports whether there are other relays to agree with.
func (c *Cluster) On() bool { return !c.URL.IsZero() }

// The engines of a spool.
const (
	EngineSQLite   = "sqlite"
	EnginePostgres = "postgres"
)

// Shared reports whether the spool is one that several relays have.
func (s *Spool) Shared() bool { return s.Engine == EnginePostgres }

// defaultCluster is a cluster when nothing is set.
func defaultCluster() Cluster {
	return Cluster{Name: "mailwhy", Heartbeat: 5 * time.Second, DeadAfter: 30 * time.Second}
}

// completeCluster reads the URLs. A shared spool is where relays agree too, unless they do so elsewhere.
func (c *Config) completeCluster(report reportFunc) {
	c.readSecret("spool.url", &c.Spool.URL, c.Spool.URLFile, report)
	c.readSecret("cluster.url", &c.Cluster.URL, c.Cluster.URLFile, report)
	if c.Spool.Shared() && c.Cluster.URL.IsZero() {
		c.Cluster.URL = c.Spool.URL
	}
}

// validateCluster checks the shared spool and what relays agree by.
func (c *Config) validateCluster(report reportFunc) {
	const example = `"postgres://mailwhy@db1,db2/mailwhy?target_session_attrs=read-write"`
	s := &c.Spool
	switch {
	case s.Shared() && s.URL.IsZero():
		report("spool.url", `is not set, but spool.engine is "postgres"`, "write "+example)
	case !s.Shared() && !s.URL.IsZero():
		report("spool.url", `is set, but spool.engine is "`+s.Engine+`"`,
			`set spool.engine = "postgres"; for limits that relays share, and no more, set cluster.url`)
	}
	for key, url := range map[string]value.Secret{"spool.url": s.URL, "cluster.url": c.Cluster.URL} {
		if text := url.Reveal(); text != "" && !isDatabaseURL(text) {
			report(key, "is not the URL of a PostgreSQL database", "write "+example)
		}
	}
	if n := c.Cluster.Name; !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`).MatchString(n) {
		report("cluster.name", fmt.Sprintf("%q is not a name for a schema", n),
			"use up to 40 of a-z, 0-9 and _, beginning with a letter")
	}
	if least := 3 * c.Cluster.Heartbeat; c.Cluster.DeadAfter < least {
		report("cluster.dead_after", "is "+value.FormatDuration(c.Cluster.DeadAfter)+
			", less than three times cluster.heartbeat",
			"a relay that misses one would be taken for dead: set at least "+value.FormatDuration(least))
	}
}

// isDatabaseURL reports whether text names a PostgreSQL database, as a URL or as keywords.
func isDatabaseURL(text string) bool {
	for _, begin := range []string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return strings.Contains(text, "host=")
}
