package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/config/value"
)

// Feedback is how to hear what becomes of mail after the upstream's 250, and what to do about it.
type Feedback struct {
	Listen      string `toml:"listen"` // host:port of the webhooks
	TLS         bool   `toml:"tls"`    // with the certificate below, or that of [tls]
	CertFile    string `toml:"cert_file" read:"file"`
	KeyFile     string `toml:"key_file" read:"secret"`
	BehindProxy bool   `toml:"behind_proxy"` // a proxy has the TLS
	PublicURL   string `toml:"public_url"`   // under which providers reach the webhooks

	Remember    time.Duration `toml:"remember" min:"1h" max:"365d"` // what was relayed
	MaxMessages int           `toml:"max_messages" min:"1000" max:"100000000"`
	KeepRaw     time.Duration `toml:"keep_raw" min:"1h" max:"365d"` // what could not be matched or read
	Notice      string        `toml:"notice" oneof:"auto always never"`
	Delivered   bool          `toml:"delivered"` // events of mail that arrived, too
	Pipe        bool          `toml:"pipe"`      // bounce mail comes from mailwhy feedback

	Webhook    []Webhook  `toml:"webhook"`
	Mailbox    []Mailbox  `toml:"mailbox"`
	ReturnPath ReturnPath `toml:"return_path"`
}

// Webhook takes in the events of one provider.
type Webhook struct {
	Provider  string   `toml:"provider"`
	Name      string   `toml:"name"`      // for logs and metrics
	Path      string   `toml:"path"`      // of the URL
	Upstreams []string `toml:"upstreams"` // whose mail the events are about; empty: any
	Topics    []string `toml:"topics"`    // of SNS, by ARN

	// What proves that a request is the provider's. Of several secrets any one does.
	SigningKey     []value.Secret `toml:"signing_key"`
	SigningKeyFile string         `toml:"signing_key_file"` // one a line
	Credential     []value.Secret `toml:"credential"`
	CredentialFile string         `toml:"credential_file"`
	RootsFile      string         `toml:"roots_file" read:"file"` // CAs of what signs for the topics
	// PracticeCertFile is believed in place of the topics' real certificates: for a rehearsal.
	PracticeCertFile string `toml:"practice_cert_file" read:"file"`
}

// On reports whether feedback is wanted in any way. If it is not, nothing is remembered of what was relayed.
func (f *Feedback) On() bool {
	return len(f.Webhook) > 0 || len(f.Mailbox) > 0 || f.Pipe || f.ReturnPath.Address != ""
}

// defaultFeedback suits all but the largest senders: a remembered message takes some 350 bytes of disk.
func defaultFeedback() Feedback {
	return Feedback{
		Remember: 14 * 24 * time.Hour, MaxMessages: 2_000_000, KeepRaw: 7 * 24 * time.Hour, Notice: "auto",
	}
}

// webhookProof is what a provider can prove its requests with. What it needs must be set; what it has no use
// for must not. A credential may be added to every proof.
type webhookProof struct{ key, credential, topics, roots, url bool }

// webhookProofs are the providers of webhooks. Package webhook says why; a test compares the two.
func webhookProofs() map[string]webhookProof {
	signs, sends, topic := webhookProof{key: true}, webhookProof{credential: true}, webhookProof{topics: true}
	return map[string]webhookProof{
		"azure": sends, "brevo": sends, "mailersend": signs, "mailgun": signs, "mailjet": sends,
		"mandrill": {key: true, url: true}, "postmark": sends, "resend": signs,
		"scaleway": {topics: true, roots: true}, "sendgrid": signs, "ses": topic, "smtp2go": sends,
		"sparkpost": sends,
	}
}

// completeFeedback fills in names and paths, and reads the secrets.
func (c *Config) completeFeedback(report reportFunc) {
	f := &c.Feedback
	if f.Listen == "" && len(f.Webhook) > 0 {
		f.Listen = "127.0.0.1:9126"
	}
	for i := range f.Webhook {
		w, at := &f.Webhook[i], fmt.Sprintf("feedback.webhook[%d]", i)
		setDefault(&w.Name, w.Provider)
		setDefault(&w.Path, "/"+w.Provider)
		c.readSecrets(at+".signing_key", &w.SigningKey, w.SigningKeyFile, report)
		c.readSecrets(at+".credential", &w.Credential, w.CredentialFile, report)
		c.warnPractice(at, w)
	}
}

// readSecrets reads secrets from their file, one a line. They are not in both places.
func (c *Config) readSecrets(key string, list *[]value.Secret, file string, report reportFunc) {
	switch {
	case file == "" && len(*list) > 0:
		c.warnInline(key)
		return
	case file == "":
		return
	case len(*list) > 0:
		report(key, "is set, and "+key+"_file too", "keep one of them")
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		report(key+"_file", file+" "+fileProblem(err), "the file must be readable by mailwhy")
		return
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			*list = append(*list, value.NewSecret(line))
		}
	}
	if len(*list) == 0 {
		report(key+"_file", file+" is empty", "the file must hold the secret, or several, one per line")
		return
	}
	c.warnReadable(key+"_file", file)
}

// validateFeedback checks how feedback comes in.
func (c *Config) validateFeedback(report reportFunc) {
	f := &c.Feedback
	if f.Listen != "" && !validListenAddress(f.Listen) {
		report("feedback.listen", fmt.Sprintf("%q is not an address to listen on", f.Listen),
			`write "127.0.0.1:9126", "[::1]:9126" or ":9126" for all addresses`)
	} else if f.Listen != "" && len(f.Webhook) == 0 {
		report("feedback.listen", "is set, but there is no webhook", "add a [[feedback.webhook]]")
	}
	c.validateFeedbackTLS(report)
	if f.PublicURL != "" && !validPublicURL(f.PublicURL) {
		report("feedback.public_url", fmt.Sprintf("%q is not the URL of a host", f.PublicURL),
			`write "https://hooks.example.com", without a user, ? or #`)
	}
	names, paths := map[string]bool{SourceBounces: true, SourcePipe: true}, map[string]bool{}
	for i := range f.Webhook {
		w, at := &f.Webhook[i], fmt.Sprintf("feedback.webhook[%d]", i)
		if proof, known := webhookProofs()[w.Provider]; known {
			f.validateProof(at, w, proof, report)
			f.validatePractice(at, w, report)
			w.validatePlace(at, names, paths, report)
		} else {
			report(at+".provider", fmt.Sprintf("%q is not a provider that mailwhy knows", w.Provider),
				"write one of "+strings.Join(slices.Sorted(maps.Keys(webhookProofs())), ", "))
		}
		c.checkUpstreams(at+".upstreams", w.Upstreams, report)
	}
}

// validateFeedbackTLS checks that what providers send, secrets among it, cannot be read on the way.
func (c *Config) validateFeedbackTLS(report reportFunc) {
	f := &c.Feedback
	if (f.CertFile == "") != (f.KeyFile == "") {
		report("feedback.cert_file", "cert_file and key_file go together", "set both or neither")
	}
	host, _, err := net.SplitHostPort(f.Listen)
	switch {
	case f.TLS && f.CertFile == "" && c.TLS.CertFile == "":
		report("feedback.tls", "is true, but there is no certificate",
			"set feedback.cert_file and feedback.key_file, or those of [tls]")
	case !f.TLS && f.CertFile != "":
		report("feedback.cert_file", "is set, but feedback.tls is not", "set feedback.tls = true")
	case err == nil && !f.TLS && !f.BehindProxy && !isLoopback(host):
		report("feedback.listen", fmt.Sprintf("%s can be reached from other machines without TLS", f.Listen),
			"set feedback.tls = true; or feedback.behind_proxy = true if a proxy in front of it "+
				"terminates TLS")
	}
}

// validPublicURL reports whether s is a URL to which the paths of the webhooks can be added.
func validPublicURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && u.Fragment == "" && !strings.ContainsAny(s, "?#")
}

// validatePlace checks name and path, which no other webhook may have.
func (w *Webhook) validatePlace(at string, names, paths map[string]bool, report reportFunc) {
	if names[w.Name] {
		report(at+".name", fmt.Sprintf("%q is the name of another source", w.Name),
			"give each webhook a name of its own")
	}
	if !strings.HasPrefix(w.Path, "/") || path.Clean(w.Path) != w.Path ||
		strings.ContainsAny(w.Path, "?#{} %") {
		report(at+".path", fmt.Sprintf("%q is not the path of a URL", w.Path), `write "/`+w.Provider+`"`)
	} else if paths[w.Path] {
		report(at+".path", fmt.Sprintf("%q is listed twice", w.Path), "give each webhook a path of its own")
	}
	names[w.Name], paths[w.Path] = true, true
}

// validateProof refuses a webhook whose requests could be anybody's, and what would prove nothing.
func (f *Feedback) validateProof(at string, w *Webhook, p webhookProof, report reportFunc) {
	missing := func(key, what, hint string) { report(at+"."+key, "is not set: "+what, hint) }
	if p.key && len(w.SigningKey) == 0 && w.SigningKeyFile == "" {
		missing("signing_key", w.Provider+" signs its requests, and without the key anybody could send them",
			"set signing_key_file or signing_key")
	}
	if p.credential && len(w.Credential) == 0 && w.CredentialFile == "" {
		missing("credential", w.Provider+" signs nothing, so anybody could send its requests",
			`set credential_file or credential to "user:password", "Header-Name: value" or "?name=value"`)
	}
	if p.topics && len(w.Topics) == 0 {
		missing("topics", "only messages from the listed topics are accepted",
			`write topics = ["arn:..."], the ARN of the topic that `+w.Provider+" publishes to")
	}
	if p.roots && w.RootsFile == "" {
		missing("roots_file", w.Provider+" can be authenticated only by the CA of its certificates",
			"name the file with the certificates of its trust chain")
	}
	if p.url && f.PublicURL == "" {
		report("feedback.public_url", "is not set, but "+w.Provider+" signs the URL of its webhook",
			`write the URL that you entered there without the path, as in "https://hooks.example.com"`)
	}
	for _, k := range []struct {
		key         string
		used, given bool
	}{
		{"signing_key", p.key, len(w.SigningKey) > 0}, {"topics", p.topics, len(w.Topics) > 0},
		{"roots_file", p.topics, w.RootsFile != ""},
		{"practice_cert_file", p.topics, w.PracticeCertFile != ""},
	} {
		if k.given && !k.used {
			report(at+"."+k.key, "is not used with provider "+w.Provider, "leave it out")
		}
	}
}

// validatePractice keeps a rehearsal on this machine. Whoever practises can tell the relay anything.
func (f *Feedback) validatePractice(at string, w *Webhook, report reportFunc) {
	if w.PracticeCertFile == "" {
		return
	}
	if host, _, err := net.SplitHostPort(f.Listen); f.BehindProxy || err == nil && !isLoopback(host) {
		report(at+".practice_cert_file",
			"is for a rehearsal on this machine, but other machines can reach the webhooks",
			"leave it out, or listen on 127.0.0.1 without behind_proxy")
	}
}

// warnPractice says at each start that a webhook does not hear of real mail.
func (c *Config) warnPractice(at string, w *Webhook) {
	if w.PracticeCertFile != "" {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s.practice_cert_file: FOR A REHEARSAL ONLY: %s is "+
			"believed with the certificate of mailwhy practice, and the real %s is not", at, w.Name,
			w.Provider))
	}
}

// checkUpstreams checks a list of names of upstreams.
func (c *Config) checkUpstreams(key string, names []string, report reportFunc) {
	for i, name := range names {
		if c.Upstream[name] == nil {
			report(fmt.Sprintf("%s[%d]", key, i), fmt.Sprintf("there is no upstream %q", name),
				"use one of "+strings.Join(sortedKeys(reflect.ValueOf(c.Upstream)), ", "))
		}
	}
}

// Suppression is the list of addresses that get no mail, because it failed before.
type Suppression struct {
	Mode     string   `toml:"mode" oneof:"off observe enforce"`
	Scope    string   `toml:"scope" oneof:"global sender_domain"` // for whose mail a failure counts
	FoldCase bool     `toml:"fold_case"`                          // capitals in local parts do not matter
	TTL      []string `toml:"ttl"`                                // durations; the last one repeats
	// ComplaintTTL is for addresses whose owners complained; 0: for ever.
	ComplaintTTL time.Duration `toml:"complaint_ttl" min:"0s" max:"3650d"`
	MaxEntries   int           `toml:"max_entries" min:"100" max:"10000000"`
	// The share of a day's distinct recipients, and their least number, that an upstream must call unknown to
	// be believed no more.
	BreakerShare      float64 `toml:"breaker_share" min:"0.05" max:"1"`
	BreakerRecipients int     `toml:"breaker_recipients" min:"5" max:"1000000"`
	// OverrideClients are the clients and users whose mail may have the header that overrides the list.
	OverrideClients []string `toml:"override_clients"`
}

// TTLs are the durations of TTL.
func (s *Suppression) TTLs() []time.Duration {
	ds := make([]time.Duration, len(s.TTL))
	for i, text := range s.TTL {
		ds[i], _ = value.ParseDuration(text) // validateSuppression has checked it
	}
	return ds
}

// defaultSuppression only observes, since nobody asked for mail to be suppressed.
func defaultSuppression() Suppression {
	return Suppression{
		Mode: "observe", Scope: "global", FoldCase: true, TTL: []string{"7d", "30d", "180d"},
		MaxEntries: 1_000_000, BreakerShare: 0.5, BreakerRecipients: 20,
	}
}

// validateSuppression checks the times and the names.
func (c *Config) validateSuppression(report reportFunc) {
	s := &c.Suppression
	if len(s.TTL) == 0 || len(s.TTL) > 20 {
		report("suppression.ttl", "has "+strconv.Itoa(len(s.TTL))+" entries",
			`write 1 to 20 durations, such as ["7d", "30d", "180d"]`)
	}
	for i, text := range s.TTL {
		if d, err := value.ParseDuration(text); err != nil || d < time.Minute || d > 3650*24*time.Hour {
			report(fmt.Sprintf("suppression.ttl[%d]", i),
				fmt.Sprintf("%q is not a duration between 1m and 3650d", text), `write "7d"`)
		}
	}
	for i, name := range s.OverrideClients {
		known := slices.ContainsFunc(c.Client, func(n Client) bool { return n.Name == name })
		if !known && (!c.Access.hasUsers() || name == "") {
			report(fmt.Sprintf("suppression.override_clients[%d]", i),
				fmt.Sprintf("there is no client %q, and no access.users_file", name),
				"use the name of a [[client]], or of a user")
		}
	}
}
