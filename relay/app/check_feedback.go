package app

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"mailwhy/config"
	"mailwhy/relay/feedback/webhook"
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
			at = "https://..." + hook.Path + ", for which feedback.public_url has the beginning"
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
