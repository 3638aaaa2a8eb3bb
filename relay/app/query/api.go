package query

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/check"
	"mailwhy/relay/check/api"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/oauth"
	"mailwhy/relay/upstream/sesapi"
)

// checkAPIUpstream asks an upstream that is an HTTP API.
func (q *Upstreams) checkAPIUpstream(ctx context.Context, cfg *config.Config, name string,
	engine *diagnose.Engine) ([]check.Line, error) {
	u := *cfg.Upstream[name]
	u.ConnectTimeout = min(u.ConnectTimeout, checkConnect)
	u.CommandTimeout = min(u.CommandTimeout, checkReply)
	quick := *cfg
	quick.Upstream = map[string]*config.Upstream{name: &u}
	o := api.Options{Name: name, Host: u.Host, Diagnose: engine.Diagnose, Senders: q.senders(cfg, name),
		Recipient: q.Recipient}
	var hop relay.Upstream
	var err error
	if u.Type == "graph" {
		hop, err = q.graphCheck(ctx, &quick, name, &o)
	} else {
		hop, err = q.sesCheck(&quick, name, &o)
	}
	if err != nil {
		return nil, err
	}
	defer hop.Close()
	o.Probe = hop.Probe
	if q.Send {
		o.Send = func(ctx context.Context, from, to string) *relay.Attempt {
			return sendTest(ctx, hop, cfg.Hostname, from, to)
		}
	}
	return api.Check(ctx, o), nil
}

// sesCheck fills in what SES tells.
func (q *Upstreams) sesCheck(cfg *config.Config, name string, o *api.Options) (relay.Upstream, error) {
	ses, err := options.SES(cfg, name, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	o.SES = &api.SES{Region: cfg.Upstream[name].Region,
		Account: func(ctx context.Context) (api.Account, bool, *relay.Attempt) {
			a, err := ses.Client.Account(ctx)
			denied, fault := answerOf(ses.Upstream, err)
			return api.Account{Production: a.ProductionAccessEnabled, Sending: a.SendingEnabled,
				Status: a.EnforcementStatus, Rate: a.SendQuota.MaxSendRate, Day: a.SendQuota.Max24HourSend,
				Sent: a.SendQuota.SentLast24Hours}, denied, fault
		},
		Identity: func(ctx context.Context, of string) (api.Identity, bool, *relay.Attempt) {
			i, found, err := ses.Client.Identity(ctx, of)
			denied, fault := answerOf(ses.Upstream, err)
			return api.Identity{Found: found, Verified: i.VerifiedForSendingStatus,
				Signs:    i.DkimAttributes.SigningEnabled && i.DkimAttributes.Status == "SUCCESS",
				MailFrom: i.MailFromAttributes.MailFromDomain,
				Status:   i.MailFromAttributes.MailFromDomainStatus,
			}, denied, fault
		},
	}
	return ses, nil
}

// answerOf is what the error of a call says.
func answerOf(u *httpapi.Upstream, err error) (denied bool, fault *relay.Attempt) {
	if err == nil || sesapi.Denied(err) {
		return err != nil, nil
	}
	return false, u.Explain(err)
}

// graphCheck fills in what the token says of itself.
func (q *Upstreams) graphCheck(ctx context.Context, cfg *config.Config, name string, o *api.Options) (
	relay.Upstream, error) {
	log := slog.New(slog.DiscardHandler)
	source, err := options.TokenSource(name, cfg.Upstream[name], nil, log)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	tokens := oauth.NewCached(name, source, log)
	if t, err := tokens.Token(ctx); err == nil {
		if c, ok := oauth.ReadClaims(t.Access); ok {
			o.Token = &api.Token{Audience: c.Audience, Grants: slices.Concat(c.Roles, c.Scopes),
				Wants: []string{"Mail.Send", "Mail.Send.Shared"}}
		}
	}
	return options.Graph(cfg, name, tokens, log)
}
