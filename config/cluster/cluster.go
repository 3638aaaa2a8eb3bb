// Package cluster has the settings of what several relays share.
package cluster

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

// Default is a cluster when nothing is set.
func Default() Cluster {
	return Cluster{Name: "mailwhy", Heartbeat: 5 * time.Second, DeadAfter: 30 * time.Second}
}

// Example is a URL as it may be written.
const Example = `"postgres://mailwhy@db1,db2/mailwhy?target_session_attrs=read-write"`

// Validate reports what tags cannot say. A key is within the section.
func (c *Cluster) Validate(report func(key, what, hint string)) {
	CheckURL("url", c.URL, report)
	if !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`).MatchString(c.Name) {
		report("name", fmt.Sprintf("%q is not a name for a schema", c.Name),
			"use up to 40 of a-z, 0-9 and _, beginning with a letter")
	}
	if least := 3 * c.Heartbeat; c.DeadAfter < least {
		report("dead_after",
			"is "+value.FormatDuration(c.DeadAfter)+", less than three times cluster.heartbeat",
			"a relay that misses one would be taken for dead: set at least "+value.FormatDuration(least))
	}
}

// CheckURL reports a URL that names no PostgreSQL database, whether as a URL or as keywords.
func CheckURL(key string, url value.Secret, report func(key, what, hint string)) {
	text := url.Reveal()
	for _, begin := range []string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(text, begin) {
			return
		}
	}
	if text != "" && !strings.Contains(text, "host=") {
		report(key, "is not the URL of a PostgreSQL database", "write "+Example)
	}
}
