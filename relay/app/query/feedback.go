package query

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"mailwhy/config"
	"mailwhy/relay/check"
	"mailwhy/relay/check/senders"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/internal/dnsclient"
)

// WriteSetUp says what to enter at the provider of each webhook, as comments that can stand in a
// configuration file. It writes nothing where there are no webhooks.
func WriteSetUp(w io.Writer, cfg *config.Config) error {
	var b strings.Builder
	for i := range cfg.Feedback.Webhook {
		hook := &cfg.Feedback.Webhook[i]
		s := webhook.SetUpOf(hook.Provider)
		at := WebhookURL(cfg, hook, false)
		if at == "" {
			at = "https://..." + hook.Path + ", after the host in feedback.public_url"
		}
		fmt.Fprintf(&b, "\n# Webhook %s: enter at %s\n", hook.Name, hook.Provider)
		for _, row := range [][2]string{
			{"place", s.Place}, {"URL", at}, {"events", strings.Join(s.Events, ", ")},
			{"delivered", s.Delivered}, {"proof", s.Proof},
		} {
			if row[0] != "delivered" || cfg.Feedback.Delivered {
				fmt.Fprintf(&b, "#   %-10s %s\n", row[0], row[1])
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WebhookURL is what is entered at the provider; "" where public_url is not configured. What of a credential
// belongs into it is shown only withSecret, and otherwise named.
func WebhookURL(cfg *config.Config, w *config.Webhook, withSecret bool) string {
	if cfg.Feedback.PublicURL == "" {
		return ""
	}
	u, err := url.Parse(strings.TrimSuffix(cfg.Feedback.PublicURL, "/") + w.Path)
	if err != nil {
		return ""
	}
	if len(w.Credential) == 0 {
		return u.String()
	}
	secret := w.Credential[0].Reveal()
	user, password, basic := strings.Cut(secret, ":")
	switch name, value, _ := strings.Cut(strings.TrimPrefix(secret, "?"), "="); {
	case strings.HasPrefix(secret, "?") && withSecret:
		u.RawQuery = url.Values{name: {value}}.Encode()
	case strings.HasPrefix(secret, "?"):
		u.RawQuery = url.QueryEscape(name) + "=SECRET"
	case !basic || strings.Contains(secret, ": "):
	case withSecret:
		u.User = url.UserPassword(user, password)
	default:
		u.User = url.UserPassword(user, "SECRET")
	}
	return u.String()
}

// returnDomain is the domain of our own return paths; "" without.
func returnDomain(cfg *config.Config) string {
	a := cfg.Feedback.ReturnPath.Address
	return strings.ToLower(a[strings.LastIndexByte(a, '@')+1:])
}

// CheckReturnPath says whether bounces to our own return paths can come back: to where the MX records of
// their domain lead (RFC 5321, 5.1). It says nothing where there are none. CheckSenders looks at their SPF.
func CheckReturnPath(ctx context.Context, cfg *config.Config, dns senders.Resolver) []check.Line {
	domain := returnDomain(cfg)
	if domain == "" {
		return nil
	}
	l := check.Line{Level: check.OK, Check: "mx", Domain: domain}
	here := slices.ContainsFunc(cfg.Listen, func(l config.Listen) bool { return l.Role == "bounces" })
	ours := check.Record{Type: "MX", Name: domain, Value: "10 " + cfg.Hostname}
	answer, err := dns.Lookup(ctx, domain, dnsclient.MX)
	switch {
	case err != nil:
		l.Level, l.Text = check.Warning, "cannot look up where bounces are delivered: "+err.Error()
	case len(answer.MX) == 0:
		l.Level = check.Failure
		l.Text = "the domain of feedback.return_path has no MX record, so bounces may be lost"
		l.Fix = "Publish one that names this relay's bounce listener, or the mailbox's server."
		if here {
			l.Records = []check.Record{ours}
		}
	default:
		var hosts []string
		for _, mx := range answer.MX {
			hosts = append(hosts, mx.Host)
		}
		l.Text = "bounces are delivered to " + strings.Join(hosts, ", ")
		if here && !slices.Contains(hosts, strings.ToLower(cfg.Hostname)) {
			l.Level = check.Warning
			l.Fix = "Make sure that one of them is this relay, whose hostname is " + cfg.Hostname + "."
		}
	}
	return []check.Line{l}
}
