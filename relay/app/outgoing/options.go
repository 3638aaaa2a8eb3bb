package outgoing

import (
	"log/slog"
	"mime"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/relay/rewrite"
	"mailwhy/relay/sign"
)

// signOptions are the signer's part of a configuration.
func signOptions(cfg *config.Config, log *slog.Logger) sign.Options {
	o := sign.Options{Now: time.Now, Log: log}
	for _, d := range cfg.DKIM {
		o.Keys = append(o.Keys, sign.Key{
			Domain: d.Domain, Selector: d.Selector, File: d.KeyFile, Headers: d.Headers, Oversign: d.Oversign,
		})
	}
	return o
}

// rewriteOptions are the rewriter's part.
func rewriteOptions(cfg *config.Config, log *slog.Logger) rewrite.Options {
	o := rewrite.Options{
		Add: headerFields(cfg.Content.AddHeaders), Accounts: map[string]string{}, Log: log,
		Sandbox: rewrite.Sandbox{On: cfg.Sandbox.On(), Redirect: cfg.Sandbox.Redirect,
			Allow: cfg.Sandbox.Allow, Subject: strings.TrimSpace(cfg.Sandbox.Subject)},
	}
	for name, u := range cfg.Upstream {
		o.Accounts[name] = u.AccountAddress()
	}
	for _, r := range cfg.Rewrite {
		o.Rules = append(o.Rules, rewrite.Rule{
			Name: r.Name, Clients: r.Clients, Senders: r.Senders, Recipients: r.Recipients,
			Upstreams: r.Upstreams, ToAccount: r.Preset == "from-to-account", Masquerade: r.Masquerade,
			Sender: r.SetSender, From: r.SetFrom, ReplyTo: r.SetReplyTo, Recipient: r.SetRecipient,
			Add: headerFields(r.AddHeaders), Set: headerFields(r.SetHeaders), Remove: r.RemoveHeaders,
		})
	}
	for _, a := range cfg.Archive {
		o.Archives = append(o.Archives, rewrite.Archive(a))
	}
	return o
}

// headerFields are fields as they are configured. What is not ASCII becomes encoded words (RFC 2047).
func headerFields(list []string) (fields []rewrite.Field) {
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, ":")
		fields = append(fields, rewrite.Field{Name: name,
			Value: mime.BEncoding.Encode("utf-8", strings.TrimSpace(value))})
	}
	return fields
}
