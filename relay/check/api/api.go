// Package api checks an upstream that is an HTTP API: whether its credentials are accepted, and what the
// provider tells of the account, the senders and the token. It sends no message unless it is asked to.
//
// relay/upstream makes the calls, through functions in Options, with the settings that the relay would use.
// Each refusal is explained by its diagnosis.
package api

import (
	"context"
	"fmt"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
)

// Options say what to check. Name, Host, Probe and Diagnose are required.
type Options struct {
	Name     string // of the upstream
	Host     string
	Probe    func(context.Context) *relay.Attempt // nil: the credentials are accepted
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis

	Senders   []string // addresses to send from
	Recipient string

	SES   *SES   // nil: another API
	Token *Token // what an access token says of itself; nil: nothing

	// Send sends a message to the Recipient; nil: none is sent.
	Send func(ctx context.Context, from, to string) *relay.Attempt
}

// SES asks Amazon SES.
type SES struct {
	Region string
	// Account asks for the account. denied says that the role may not ask.
	Account func(context.Context) (a Account, denied bool, fault *relay.Attempt)
	// Identity asks for a domain or an address.
	Identity func(ctx context.Context, name string) (i Identity, denied bool, fault *relay.Attempt)
}

// Account is an account of SES in a region.
type Account struct {
	Production, Sending bool
	Status              string // HEALTHY, PROBATION, SHUTDOWN
	Rate, Day, Sent     float64
}

// Identity is a domain or an address at SES.
type Identity struct {
	Found, Verified  bool
	Signs            bool   // with DKIM
	MailFrom, Status string // the custom MAIL FROM domain, and how it stands
}

// Token is what an access token says of itself.
type Token struct {
	Audience string
	Grants   []string // roles and scopes
	Wants    []string // of these, one is needed
}

// run is one check.
type run struct {
	Options
	lines []check.Line
}

// Check runs the check.
func Check(ctx context.Context, o Options) []check.Line {
	r := &run{Options: o}
	if fault := o.Probe(ctx); fault != nil {
		r.refused(fault, "")
		return r.lines
	}
	r.add(check.OK, "auth", "%s accepts the credentials", o.Host)
	if o.Token != nil {
		r.token()
	}
	if o.SES != nil {
		r.account(ctx)
		r.identities(ctx)
	}
	if o.Send != nil && o.Recipient != "" && len(o.Senders) > 0 {
		r.send(ctx)
	}
	return r.lines
}

// add adds a line.
func (r *run) add(level check.Level, name, format string, args ...any) *check.Line {
	r.lines = append(r.lines, check.Line{Level: level, Check: name, Upstream: r.Name,
		Text: fmt.Sprintf(format, args...)})
	return &r.lines[len(r.lines)-1]
}

// refused adds the line for an attempt that failed.
func (r *run) refused(a *relay.Attempt, what string) {
	d := r.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: r.Host})
	name := "connect"
	switch a.Stage {
	case diagnose.StageAuth:
		name = "auth"
	case diagnose.StageTLS:
		name = "tls"
	case diagnose.StageMail, diagnose.StageRcpt, diagnose.StageEndOfData:
		name = "send"
	}
	l := r.add(check.Failure, name, "%s%s: %s", what, a.NetErr.Text, d.Cause)
	l.Fix = strings.Join(d.Fix, " ")
}

// token is about what the token may be used for.
func (r *run) token() {
	t := r.Token
	for _, want := range t.Wants {
		for _, have := range t.Grants {
			if want == have {
				r.add(check.OK, "token", "the access token has %s for %s", want, t.Audience)
				return
			}
		}
	}
	l := r.add(check.Failure, "token", "the access token for %s has none of %s", t.Audience,
		strings.Join(t.Wants, ", "))
	l.Fix = "Give the application the permission " + t.Wants[0] + ", and have an administrator consent to it."
}

// account is about the whole account.
func (r *run) account(ctx context.Context) {
	a, denied, fault := r.SES.Account(ctx)
	switch {
	case denied:
		l := r.add(check.Warning, "account", "the credentials may not ask for the account: its rate, and "+
			"whether it is in the sandbox, are not known")
		l.Fix = "Allow ses:GetAccount in the policy of the role or user."
		return
	case fault != nil:
		r.refused(fault, "the account: ")
		return
	}
	switch {
	case !a.Sending || a.Status == "SHUTDOWN":
		l := r.add(check.Failure, "account", "sending is switched off for the account in %s", r.SES.Region)
		l.Fix = "Look at the reputation dashboard of SES, and answer the open support case."
	case a.Status == "PROBATION":
		l := r.add(check.Warning, "account", "the account is under review in %s", r.SES.Region)
		l.Fix = "Look at the reputation dashboard of SES, and do what the support case asks for."
	}
	if !a.Production {
		l := r.add(check.Warning, "account", "the account is in the sandbox in %s: it sends to verified "+
			"recipients only", r.SES.Region)
		l.Fix = "Request production access in the SES console."
	}
	l := r.add(check.OK, "quota", "%v recipients a second, %v in 24 hours, of which %v are used",
		a.Rate, a.Day, a.Sent)
	if a.Day > 0 && a.Sent >= 0.9*a.Day {
		l.Level, l.Fix = check.Warning, "Ask for a higher quota in the SES console."
	}
}

// identities are about each sender: its address, its domain, or a domain above must be verified.
func (r *run) identities(ctx context.Context) {
	for _, sender := range r.Senders {
		name, id, denied, fault := r.identity(ctx, sender)
		switch {
		case denied:
			l := r.add(check.Warning, "identity", "the credentials may not ask for %s", sender)
			l.Fix = "Allow ses:GetEmailIdentity in the policy of the role or user."
			return
		case fault != nil:
			r.refused(fault, sender+": ")
		case !id.Found:
			l := r.add(check.Failure, "identity", "neither %s nor its domain is an identity in %s", sender,
				r.SES.Region)
			l.Fix = "Create the domain as an identity in the console of SES, and publish its records."
		case !id.Verified:
			l := r.add(check.Failure, "identity", "%s, for mail from %s, is not verified in %s", name, sender,
				r.SES.Region)
			l.Fix = "Publish the records that the SES console shows for it."
		case !id.Signs:
			l := r.add(check.Warning, "identity", "%s, for mail from %s, is verified, but has no DKIM",
				name, sender)
			l.Fix = "Set DKIM up for the domain in the SES console."
		case id.MailFrom != "" && id.Status != "SUCCESS":
			l := r.add(check.Warning, "identity", "%s is verified, but its MAIL FROM domain %s is not (%s)",
				name, id.MailFrom, id.Status)
			l.Fix = "Publish the MX and TXT records that the SES console shows for the MAIL FROM domain."
		default:
			r.add(check.OK, "identity", "%s, for mail from %s, is verified", name, sender)
		}
	}
}

// identity finds the identity that stands for a sender.
func (r *run) identity(ctx context.Context, sender string) (name string, id Identity, denied bool,
	fault *relay.Attempt) {
	names := []string{sender}
	domain := sender[strings.LastIndexByte(sender, '@')+1:]
	for ; strings.Contains(domain, "."); _, domain, _ = strings.Cut(domain, ".") {
		names = append(names, domain)
	}
	for _, name = range names {
		if id, denied, fault = r.SES.Identity(ctx, name); id.Found || denied || fault != nil {
			return name, id, denied, fault
		}
	}
	return "", Identity{}, false, nil
}

// send sends a message.
func (r *run) send(ctx context.Context) {
	from := r.Senders[0]
	a := r.Send(ctx, from, r.Recipient)
	if a.Class() != 2 {
		r.refused(a, "a message from "+from+" to "+r.Recipient+" is refused: ")
		return
	}
	r.add(check.OK, "send", "a message from %s to %s was relayed as %q", from, r.Recipient, a.UpstreamID)
}
