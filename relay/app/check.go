package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/check"
	"mailwhy/relay/check/api"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback/webhook/sns"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/oauth"
	"mailwhy/relay/upstream/sesapi"
)

// Check makes of a configuration what each room would, for the mistakes that only the rooms can see, and
// returns all of them. Nothing is opened, changed or connected to.
func Check(cfg *config.Config) error {
	engine, errEngine := newEngine(cfg)
	if errEngine == nil {
		_, errEngine = NewPolicies(cfg, engine)
	}
	composer, errTemplates := composerOptions(cfg, make([]byte, 32))
	if errTemplates == nil {
		_, errTemplates = dsn.New(composer)
	}
	_, errTLS := newCertificate(&cfg.TLS, slog.New(slog.DiscardHandler))
	_, errWebhooks := newEndpoints(cfg)
	_, errOutgoing := outgoing.New(cfg, slog.New(slog.DiscardHandler))
	errs := []error{errEngine, errTemplates, errTLS, errOutgoing, checkFeedback(cfg), errWebhooks}
	for _, name := range slices.Sorted(maps.Keys(cfg.Upstream)) {
		_, err := upstreamOptions(cfg, name)
		if cfg.Upstream[name].IsAPI() {
			err = checkAPI(cfg, name)
		}
		errs = append(errs, err)
		if u := cfg.Upstream[name]; u.HasOAuth() {
			_, err = TokenSource(name, u, nil)
			errs = append(errs, err)
		}
	}
	access, errAccess := accessOf(cfg)
	return errors.Join(append(errs, cfg.CheckUsers(), errAccess, smtpd.CheckOpen(listens(cfg), access))...)
}

// checkFeedback is Check for the ways by which feedback comes in.
func checkFeedback(cfg *config.Config) error {
	r := &Relay{log: slog.New(slog.DiscardHandler)}
	_, errHooks := newHooks(cfg, sns.NewFetcher(http.DefaultTransport), r.log)
	_, errPaths := newReturnPaths(cfg, make([]byte, 32))
	_, errBoxes := r.newBoxes(cfg)
	return errors.Join(errHooks, errPaths, errBoxes)
}

// checkAPIUpstream asks an upstream that is an HTTP API.
func (q *UpstreamQuery) checkAPIUpstream(ctx context.Context, cfg *config.Config, name string,
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
func (q *UpstreamQuery) sesCheck(cfg *config.Config, name string, o *api.Options) (relay.Upstream, error) {
	ses, err := newSES(cfg, name, slog.New(slog.DiscardHandler))
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
func (q *UpstreamQuery) graphCheck(ctx context.Context, cfg *config.Config, name string, o *api.Options) (
	relay.Upstream, error) {
	log := slog.New(slog.DiscardHandler)
	source, err := TokenSource(name, cfg.Upstream[name], log)
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
	return newGraph(cfg, name, tokens, log)
}
