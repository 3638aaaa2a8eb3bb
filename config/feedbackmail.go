package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"mailwhy/config/value"
)

// ReturnPath is an envelope sender of our own for what goes to upstreams that report by mail, so that their
// reports come here and name the message that they are about.
type ReturnPath struct {
	Address      string   `toml:"address"`   // empty: the application's sender stays
	Upstreams    []string `toml:"upstreams"` // that get it
	KeyFile      string   `toml:"key_file" read:"secret"`
	PerRecipient bool     `toml:"per_recipient"` // one for each recipient, and a transaction each
}

// Mailbox is where bounce mail is fetched: a folder of an IMAP server, or a maildir.
type Mailbox struct {
	Name          string       `toml:"name"`
	Host          string       `toml:"host"`
	Port          int          `toml:"port" min:"0" max:"65535"`
	TLS           string       `toml:"tls" oneof:"none starttls implicit"`
	CAFile        string       `toml:"ca_file" read:"file"`
	Username      string       `toml:"username"`
	Password      value.Secret `toml:"password"`
	PasswordFile  string       `toml:"password_file"`
	OAuthUpstream string       `toml:"oauth_upstream"` // whose access tokens log in here too
	Folder        string       `toml:"folder"`
	Maildir       string       `toml:"maildir"` // in place of host
	After         string       `toml:"after"`   // what is done with bounces: leave, seen, move:FOLDER, delete
}

// The names of the sources of bounce mail that are not a mailbox: the listener, and mailwhy feedback.
const (
	SourceBounces = "bounces"
	SourcePipe    = "pipe"
)

// roleBounces is the role of a listener that takes bounce mail and nothing else.
const roleBounces = "bounces"

// complete fills in what is left out.
func (m *Mailbox) complete() {
	setDefault(&m.After, "leave")
	setDefault(&m.TLS, "implicit")
	if m.Maildir != "" {
		setDefault(&m.Name, filepath.Base(m.Maildir))
		return
	}
	setDefault(&m.Name, m.Username)
	setDefault(&m.Folder, "INBOX")
	if m.Port == 0 {
		m.Port = 143
		if m.TLS == "implicit" {
			m.Port = 993 // RFC 8314, 7.3
		}
	}
}

// completeMailboxes fills in names and ports, and reads the passwords.
func (c *Config) completeMailboxes(report reportFunc) {
	for i := range c.Feedback.Mailbox {
		m, at := &c.Feedback.Mailbox[i], fmt.Sprintf("feedback.mailbox[%d].password", i)
		m.complete()
		switch {
		case m.PasswordFile != "" && !m.Password.IsZero():
			report(at, "is set, and "+at+"_file too", "keep one of them")
		case !m.Password.IsZero():
			c.warnInline(at)
		default:
			c.readSecret(at, &m.Password, m.PasswordFile, report)
		}
	}
}

// validateBounceMail checks how bounce mail comes in.
func (c *Config) validateBounceMail(report reportFunc) {
	r := &c.Feedback.ReturnPath
	switch {
	case r.Address == "" && (len(r.Upstreams) > 0 || r.KeyFile != "" || r.PerRecipient):
		report("feedback.return_path.address", "is not set", `write "b@bounces.example.com"`)
	case r.Address != "" && !validAddress(r.Address):
		report("feedback.return_path.address", fmt.Sprintf("%q is not a mail address", r.Address),
			`write "b@bounces.example.com"`)
	case r.Address != "" && len(r.Upstreams) == 0:
		report("feedback.return_path.upstreams", "is empty",
			`name the upstreams that send bounces by mail, as in ["office"]`)
	}
	c.checkUpstreams("feedback.return_path.upstreams", r.Upstreams, report)
	for i, name := range r.Upstreams {
		if u := c.Upstream[name]; u != nil && u.IsAPI() {
			report(fmt.Sprintf("feedback.return_path.upstreams[%d]", i),
				fmt.Sprintf("%q is an HTTP API, which has a return path of its own", name), "leave it out")
		}
	}
	for i := range c.Listen {
		if c.Listen[i].Role == roleBounces && r.Address == "" {
			report(fmt.Sprintf("listen[%d].role", i), `is "bounces", but feedback.return_path is not set`,
				"such a listener takes only mail to mailwhy's own return paths; "+
					"set feedback.return_path.address")
		}
	}
	names := map[string]bool{SourceBounces: true, SourcePipe: true}
	for i := range c.Feedback.Webhook {
		names[c.Feedback.Webhook[i].Name] = true
	}
	for i := range c.Feedback.Mailbox {
		m, at := &c.Feedback.Mailbox[i], fmt.Sprintf("feedback.mailbox[%d]", i)
		if names[m.Name] {
			report(at+".name", fmt.Sprintf("%q is the name of another source", m.Name),
				"give each mailbox a name of its own")
		}
		names[m.Name] = true
		m.validate(at, report)
		if m.OAuthUpstream != "" {
			c.validateMailboxOAuth(at, m, report)
		}
	}
}

// validate checks a mailbox on its own.
func (m *Mailbox) validate(at string, report reportFunc) {
	folder, moved := strings.CutPrefix(m.After, "move:")
	if moved && folder == "" || !moved && m.After != "leave" && m.After != "seen" && m.After != "delete" {
		report(at+".after", fmt.Sprintf("is %q", m.After), "write one of leave, seen, move:FOLDER, delete")
	}
	if m.Maildir != "" {
		if m.Host != "" {
			report(at+".host", "is set, and maildir too", "keep one of them")
		}
		return
	}
	switch {
	case m.Host == "":
		report(at+".host", "is not set", "name the IMAP server, or a directory as maildir")
	case !validHost(m.Host):
		report(at+".host", fmt.Sprintf("%q is not a host name", m.Host), "the port goes into port")
	case m.TLS == "none" && !isLoopback(m.Host):
		report(at+".tls", `is "none", so the password could be read on the way`, "write implicit or starttls")
	}
	if m.Username == "" {
		report(at+".username", "is not set", "write the name to log in with")
	}
	if m.Password.IsZero() && m.PasswordFile == "" && m.OAuthUpstream == "" {
		report(at+".password", "is not set", "set password_file, password, or oauth_upstream")
	}
}

// validateMailboxOAuth checks where the access tokens of a mailbox come from.
func (c *Config) validateMailboxOAuth(at string, m *Mailbox, report reportFunc) {
	u := c.Upstream[m.OAuthUpstream]
	switch {
	case u == nil:
		report(at+".oauth_upstream", fmt.Sprintf("there is no upstream %q", m.OAuthUpstream),
			"write the name of one that logs in with OAuth")
	case !u.HasOAuth():
		report(at+".oauth_upstream", fmt.Sprintf("upstream %q does not log in with OAuth", m.OAuthUpstream),
			"set its oauth_ keys, or a password here")
	case !m.Password.IsZero() || m.PasswordFile != "":
		report(at+".password", "is set, and oauth_upstream too", "keep one of them")
	}
}
