package preset

import (
	"regexp"
	"strings"
)

// Secret is what a user name or a password of a provider looks like.
type Secret struct {
	Says     string    `toml:"says"`    // what it is, in a phrase that follows "it is"
	Pattern  string    `toml:"pattern"` // a regular expression for the whole; empty when it can be anything
	Source   Source    `toml:"source"`
	Date     string    `toml:"date"`
	Ref      string    `toml:"ref"`
	Mistakes []Mistake `toml:"mistakes"`

	pattern *regexp.Regexp
}

// Mistake is a wrong value that people paste.
type Mistake struct {
	Pattern string `toml:"pattern"` // a regular expression for the whole
	Says    string `toml:"says"`    // what was pasted, and what to do; a sentence

	pattern *regexp.Regexp
}

// Finding is something wrong with a credential. It never contains the credential.
type Finding struct {
	Key  string // username or password
	Text string // a sentence or two
}

// CheckCredentials compares a user name and a password with what the provider gives out. It finds mistakes
// before a server is asked, which would only answer 535. An empty user or password is not looked at.
func (p *Preset) CheckCredentials(user, password string) (found []Finding) {
	for _, c := range []struct {
		key, given string
		want       *Secret
	}{{"username", user, &p.User}, {"password", password, &p.Password}} {
		if text := c.want.check(p.Title, c.key, c.given); text != "" {
			found = append(found, Finding{c.key, text})
		}
	}
	return found
}

// check is what is wrong with one value, or "".
func (s *Secret) check(title, key, given string) string {
	if given == "" {
		return ""
	}
	if strings.TrimSpace(given) != given {
		return "The " + key + " begins or ends with a blank or a line break. Was it pasted with one?"
	}
	for _, m := range s.Mistakes {
		if m.pattern.MatchString(given) {
			return m.Says
		}
	}
	if s.pattern != nil && !s.pattern.MatchString(given) {
		return "The " + key + " does not look like one of " + title + ": it is " + s.Says + "."
	}
	return ""
}

// compile prepares the patterns. They match the whole value.
func (s *Secret) compile() (err error) {
	if s.Pattern != "" {
		if s.pattern, err = whole(s.Pattern); err != nil {
			return err
		}
	}
	for i := range s.Mistakes {
		if s.Mistakes[i].pattern, err = whole(s.Mistakes[i].Pattern); err != nil {
			return err
		}
	}
	return nil
}

func whole(pattern string) (*regexp.Regexp, error) { return regexp.Compile(`^(?:` + pattern + `)$`) }
