package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Rewrite is a rule by which mail is changed. Every key that is given must match. All rules that match are
// applied; where two set the same thing, the first one counts. An entry of Senders and Recipients may be a
// regular expression between slashes, whose groups are $1 ... in what is set.
type Rewrite struct {
	Name       string   `toml:"name"`       // for messages; "rewrite N" when empty
	Clients    []string `toml:"clients"`    // names of client networks or users
	Senders    []string `toml:"senders"`    // of the envelope
	Recipients []string `toml:"recipients"` // each recipient by itself
	Upstreams  []string `toml:"upstreams"`  // that the mail goes to
	// Preset is from-to-account for upstreams that take only the address of the account.
	Preset        string   `toml:"preset" oneof:"none from-to-account"`
	SetSender     string   `toml:"set_sender"` // of the envelope
	SetFrom       string   `toml:"set_from"`   // an address; the name stays unless it is "Name <address>"
	SetReplyTo    string   `toml:"set_reply_to"`
	SetRecipient  string   `toml:"set_recipient"`
	Masquerade    []string `toml:"masquerade"`  // domains that stand for their subdomains; "!domain" stays
	AddHeaders    []string `toml:"add_headers"` // "Name: value"
	SetHeaders    []string `toml:"set_headers"`
	RemoveHeaders []string `toml:"remove_headers"`
}

// Archive is an address that gets a copy of mail. Its keys are those of a Rewrite.
type Archive struct {
	Bcc        string   `toml:"bcc"`
	Clients    []string `toml:"clients"`
	Senders    []string `toml:"senders"`
	Recipients []string `toml:"recipients"`
}

// AccountAddress is the address of the account at the upstream; "" if the configuration does not tell it.
func (u *Upstream) AccountAddress() string {
	for _, a := range []string{u.Mailbox, u.OAuthSubject, u.Username} {
		if validAddress(a) {
			return a
		}
	}
	return ""
}

// completeRewriting fills in the names of the rules.
func (c *Config) completeRewriting() {
	for i := range c.Rewrite {
		setDefault(&c.Rewrite[i].Name, fmt.Sprintf("rewrite %d", i+1))
		setDefault(&c.Rewrite[i].Preset, noPreset)
	}
}

// validateRewriting checks what changes mail and its recipients.
func (c *Config) validateRewriting(report reportFunc) {
	for i := range c.Rewrite {
		path := fmt.Sprintf("rewrite[%d]", i)
		r := &c.Rewrite[i]
		same := func(o Rewrite) bool { return o.Name == r.Name }
		if slices.ContainsFunc(c.Rewrite[:i], same) {
			report(path+".name", fmt.Sprintf("%q is listed twice", r.Name), "")
		}
		c.validateKeys(path, r.Clients, r.Senders, r.Recipients, report)
		c.validateAccount(path, r, report)
		r.validate(path, report)
		c.validateReach(i, path, report)
	}
	for i := range c.Archive {
		a := &c.Archive[i]
		path := fmt.Sprintf("archive[%d]", i)
		if !plainAddress(a.Bcc) {
			report(path+".bcc", fmt.Sprintf("%q is not a mail address", a.Bcc), `write "archive@example.com"`)
		}
		c.validateKeys(path, a.Clients, a.Senders, a.Recipients, report)
	}
	checkFields("content.add_headers", c.Content.AddHeaders, report)
	c.validateSandbox(report)
}

// validateKeys checks which mail is meant.
func (c *Config) validateKeys(path string, clients, senders, recipients []string, report reportFunc) {
	for i, name := range clients {
		is := func(cl Client) bool { return cl.Name == name }
		if !c.Access.hasUsers() && !slices.ContainsFunc(c.Client, is) {
			report(fmt.Sprintf("%s.clients[%d]", path, i),
				fmt.Sprintf("no [[client]] is called %q, so no mail matches", name),
				"write the name of one, or set access.users_file if it is a user")
		}
	}
	checkMatchers(path+".senders", senders, report)
	checkMatchers(path+".recipients", recipients, report)
	if i := slices.Index(recipients, "<>"); i >= 0 {
		report(fmt.Sprintf("%s.recipients[%d]", path, i), "no recipient is the null address", "leave it out")
	}
}

// checkMatchers checks a list of addresses, domains and regular expressions.
func checkMatchers(path string, list []string, report reportFunc) {
	for i, entry := range list {
		text, ok := expression(entry)
		if !ok {
			checkPatterns(path, list[i:i+1], func(_, what, hint string) {
				report(fmt.Sprintf("%s[%d]", path, i), what, hint+`, or "/regular expression/"`)
			})
		} else if _, err := regexp.Compile(text); err != nil {
			report(fmt.Sprintf("%s[%d]", path, i),
				fmt.Sprintf("%s is not a regular expression: %v", entry, err),
				"the syntax is that of RE2: https://github.com/google/re2/wiki/Syntax")
		}
	}
}

// expression is the regular expression that an entry holds between slashes.
func expression(entry string) (text string, ok bool) {
	if len(entry) < 3 || entry[0] != '/' || entry[len(entry)-1] != '/' {
		return "", false
	}
	return entry[1 : len(entry)-1], true
}

// validateAccount checks that every upstream of a rule has an account with an address, if one is needed.
func (c *Config) validateAccount(path string, r *Rewrite, report reportFunc) {
	names := r.Upstreams
	for i, name := range names {
		if c.Upstream[name] == nil {
			report(fmt.Sprintf("%s.upstreams[%d]", path, i), fmt.Sprintf("there is no upstream %q", name), "")
		}
	}
	if len(names) == 0 {
		for name := range c.Upstream {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	if r.Preset != "from-to-account" || r.SetSender != "" && r.SetFrom != "" {
		return
	}
	for _, name := range names {
		if u := c.Upstream[name]; u != nil && u.AccountAddress() == "" {
			report(path+".preset",
				fmt.Sprintf("upstream %s logs in with no mail address, so it is not known which one it takes",
					name), "set set_sender and set_from, or upstreams = [...] to those with one")
		}
	}
}

// validate checks what a rule sets.
func (r *Rewrite) validate(path string, report reportFunc) {
	if r.Preset == noPreset && r.SetSender+r.SetFrom+r.SetReplyTo+r.SetRecipient == "" &&
		len(r.Masquerade)+len(r.AddHeaders)+len(r.SetHeaders)+len(r.RemoveHeaders) == 0 {
		report(path, "changes nothing", "set preset, set_sender, set_from, set_reply_to, set_recipient, "+
			"masquerade, add_headers, set_headers or remove_headers")
	}
	for _, t := range []struct {
		key, template string
		named         bool
		from          string
		list          []string
	}{
		{".set_sender", r.SetSender, false, "senders", r.Senders},
		{".set_from", r.SetFrom, true, "senders", r.Senders},
		{".set_reply_to", r.SetReplyTo, true, "senders", r.Senders},
		{".set_recipient", r.SetRecipient, false, "recipients", r.Recipients},
	} {
		checkTemplate(path+t.key, t.template, t.named, t.from, t.list, report)
	}
	if slices.Equal(r.Senders, []string{"<>"}) && r.SetSender != "" {
		report(path+".set_sender", "is never used: the null sender is kept (RFC 5321, 4.5.5)", "leave it out")
	}
	if r.SetRecipient != "" && len(r.Upstreams) > 0 {
		report(path+".upstreams",
			"is set beside set_recipient, but the upstream is chosen by the new recipient",
			"make two rules of it")
	}
	for i, domain := range r.Masquerade {
		if name := strings.TrimPrefix(domain, "!"); !validHost(name) || strings.HasPrefix(name, "[") {
			report(fmt.Sprintf("%s.masquerade[%d]", path, i), fmt.Sprintf("%q is not a domain", domain),
				`write "example.com", or "!host.example.com" for one that stays`)
		}
	}
	checkFields(path+".add_headers", r.AddHeaders, report)
	checkFields(path+".set_headers", r.SetHeaders, report)
	for i, name := range r.RemoveHeaders {
		key := fmt.Sprintf("%s.remove_headers[%d]", path, i)
		if !validField(name) {
			report(key, fmt.Sprintf("%q is not the name of a header field", name),
				`write "X-Mailer", without a colon`)
		} else if why := reserved(name, true); why != "" {
			report(key, name+" "+why, "leave it out")
		}
	}
}

// reference is a group of a regular expression in a template.
var reference = regexp.MustCompile(`\$(\w+|\{\w*\}|)`)

// checkTemplate checks an address that is set, with or without a name in front of it. Each group that it
// names must be in every entry of list, or some mail would get half an address.
func checkTemplate(key, template string, named bool, from string, list []string, report reportFunc) {
	if template == "" {
		return
	}
	for _, ref := range reference.FindAllString(template, -1) {
		group := strings.Trim(ref, "${}")
		if len(list) == 0 {
			report(key, ref+" stands for nothing: "+from+" has no regular expression", "write one, as in "+
				`"/(.+)@old.example/"`)
			return
		}
		for _, entry := range list {
			if !hasGroup(entry, group) {
				report(key, fmt.Sprintf("there is no group %q in %s of %s", group, entry, from),
					"groups are counted from 1; write ${1}x where a letter or digit follows")
				return
			}
		}
	}
	address := reference.ReplaceAllString(template, "x")
	if name, rest, ok := strings.Cut(address, "<"); ok && named && validText(name) {
		if inner, closed := strings.CutSuffix(rest, ">"); closed {
			address = inner
		}
	}
	if !plainAddress(address) {
		report(key, fmt.Sprintf("%q is not a mail address", template), `write "name@example.com"`)
	}
}

// hasGroup reports whether an entry is a regular expression with a group.
func hasGroup(entry, group string) bool {
	text, ok := expression(entry)
	re, err := regexp.Compile(text)
	if !ok || err != nil || group == "" {
		return err != nil // which is reported of the entry
	}
	for i, name := range re.SubexpNames() {
		if name == group || fmt.Sprint(i) == group {
			return true
		}
	}
	return false
}

// plainAddress reports whether s is an address that any server takes.
func plainAddress(s string) bool {
	return validAddress(s) && !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// validText reports whether s can stand in a header field: UTF-8 without controls.
func validText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func validField(name string) bool { return regexp.MustCompile(`^[!-9;-~]+$`).MatchString(name) }

// maxWord is how long a word of a header field may be: a line has at most 998 bytes (RFC 5322, 2.1.1), and
// can be folded only between words.
const maxWord = 900

// checkFields checks header fields that are added (RFC 5322, 2.2).
func checkFields(path string, list []string, report reportFunc) {
	for i, entry := range list {
		key := fmt.Sprintf("%s[%d]", path, i)
		name, value, ok := strings.Cut(entry, ":")
		long := func(word string) bool { return len(word) > maxWord }
		switch {
		case !ok || !validField(name):
			report(key, fmt.Sprintf("%q is not a header field", entry), `write "X-Environment: staging"`)
		case strings.TrimSpace(value) == "" || !validText(value):
			report(key, name+" has no value, or one with control characters", "write it on one line")
		case slices.ContainsFunc(strings.Fields(value), long):
			report(key, fmt.Sprintf("%s has a word of more than %d bytes", name, maxWord), "")
		default:
			if why := reserved(name, false); why != "" {
				report(key, name+" "+why, "leave it out")
			}
		}
	}
}

// reserved says why a field is not changed by its name; "" if it can be.
func reserved(name string, remove bool) string {
	name = strings.ToLower(name)
	switch {
	case name == "received" || name == "return-path":
		return "tells the way of a mail, by which loops are found"
	case strings.HasPrefix(name, "content-") || name == "mime-version":
		return "says how the body is to be read"
	case name == "date" || name == "message-id" || name == "from" && remove:
		return "is required (RFC 5322, 3.6)"
	case remove:
		return ""
	case name == "from":
		return "is set by set_from"
	case name == "reply-to":
		return "is set by set_reply_to"
	case name == "bcc" || name == "resent-bcc":
		return "would tell every recipient; [[archive]] sends copies"
	case name == "dkim-signature" || strings.HasPrefix(name, "arc-"):
		return "is made by whoever signs; see [[dkim]]"
	}
	return ""
}

// validateReach reports a rule that can have no effect, because one before it sets the same for all mail.
func (c *Config) validateReach(i int, path string, report reportFunc) {
	r := &c.Rewrite[i]
	sets := r.sets()
	if len(sets) == 0 || len(r.Masquerade)+len(r.AddHeaders)+len(r.SetHeaders)+len(r.RemoveHeaders) > 0 {
		return
	}
	for j := range c.Rewrite[:i] {
		first := &c.Rewrite[j]
		if len(first.Clients)+len(first.Senders)+len(first.Recipients)+len(first.Upstreams) > 0 {
			continue
		}
		sets = slices.DeleteFunc(sets, func(what string) bool { return slices.Contains(first.sets(), what) })
		if len(sets) == 0 {
			report(path, fmt.Sprintf("is never used: %q sets the same for all mail", first.Name),
				"put it before that")
			return
		}
	}
}

// sets are the things that a rule sets.
func (r *Rewrite) sets() (list []string) {
	account := r.Preset == "from-to-account"
	for _, one := range []struct {
		what string
		set  bool
	}{
		{"sender", r.SetSender != "" || account}, {"from", r.SetFrom != "" || account},
		{"reply-to", r.SetReplyTo != ""}, {"recipient", r.SetRecipient != ""}, {"account", account},
	} {
		if one.set {
			list = append(list, one.what)
		}
	}
	return list
}
