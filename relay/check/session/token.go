package session

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
)

// Token is what an access token says of itself. Nobody has verified it.
type Token struct {
	Audience    string
	Application string   // that it was given to
	Tenant      string   // whose directory gave it
	User        string   // whose login it is; empty: the application's own
	Rights      []string // roles of an application, scopes of a person's login
	Expires     time.Time
	Exchange    bool   // it is for Exchange Online
	Lacks       string // the right to send mail by SMTP that it lacks; empty: none
}

// token is about the access token, before the server sees it. The server says only that it refuses it.
func (r *run) token(ctx context.Context) {
	if r.Token == nil {
		return
	}
	t := r.Token(ctx)
	if r.jwt = t; t == nil {
		return // there is none, which the login will show, or it is not one that can be read
	}
	l := r.add(check.OK, "token", "%s", t.words())
	switch {
	case r.Exchange && !t.Exchange:
		l.Level = check.Failure
		l.Text += ", which is not Exchange Online"
		l.Fix = `Set oauth_scope = "https://outlook.office365.com/.default", or leave it out.`
	case t.Lacks != "":
		l.Level = check.Failure
		l.Text += ", but not the permission " + t.Lacks
		l.Fix = t.grant()
	case !t.Expires.IsZero() && !t.Expires.After(r.Now()):
		l.Level = check.Failure
		l.Text += ", which is over"
		l.Fix = "Set the clock of this machine."
	case t.User != "" && !strings.EqualFold(t.User, r.User):
		l.Level = check.Warning
		l.Text += ", but username is " + r.User
		l.Fix = "Log in as " + r.User + ", or give " + t.User + " full access to that mailbox."
	}
}

// words describe a token.
func (t *Token) words() string {
	whose := "of an application"
	if t.Application != "" {
		whose = "of the application " + t.Application
	}
	if t.User != "" {
		whose += " for " + t.User
	}
	if t.Tenant != "" {
		whose += " in the tenant " + t.Tenant
	}
	rights := "no rights"
	if len(t.Rights) > 0 {
		rights = strings.Join(t.Rights, " ")
	}
	text := fmt.Sprintf("a token %s, for %s, with %s", whose, t.Audience, rights)
	if !t.Expires.IsZero() {
		text += ", until " + t.Expires.UTC().Format("2006-01-02 15:04 MST")
	}
	return text
}

// grant says how the missing permission is given.
func (t *Token) grant() string {
	if len(t.Rights) > 0 && t.User != "" {
		return "Add the delegated permission " + t.Lacks + " to the app registration, and log in again: " +
			"mailwhy auth login."
	}
	return "In the app registration, API permissions, add the application permission " + t.Lacks +
		" of Office 365 Exchange Online and grant admin consent. A new token has it; one in use does not."
}

// disabled is Exchange Online's enhanced code for SMTP AUTH that is switched off, and badLogin its code for
// everything else that is wrong with a login.
const (
	disabled = "5.7.139"
	badLogin = "5.7.3"
)

// login gives the fix for a login that Exchange Online refuses, as far as the reply and the token tell: "" if
// they do not.
func (r *run) login(a *relay.Attempt) string {
	if a.Stage != diagnose.StageAuth || a.Reply.Code != 535 {
		return ""
	}
	text := strings.ToLower(a.Reply.Raw)
	switch e := a.Reply.Enhanced.String(); {
	case e == disabled && strings.Contains(text, "disabled"):
		return r.switchOn(strings.Contains(text, "tenant"))
	case r.jwt == nil || !r.jwt.Exchange || e != badLogin:
		return ""
	case r.jwt.Lacks != "":
		return "Mend the token first: it lacks the permission " + r.jwt.Lacks + "."
	case r.jwt.User != "":
		return "The token is right, so the mailbox is not: " + r.jwt.User + " must be " + r.User +
			" or have full access to it."
	}
	return fmt.Sprintf("The token is right, so Exchange does not know the application. In Exchange Online "+
		"PowerShell: New-ServicePrincipal -AppId %s -ObjectId OBJECT-ID, with the object id of the "+
		"*Enterprise application* (that of the app registration does not work); then Add-MailboxPermission "+
		"-Identity %s -User OBJECT-ID -AccessRights FullAccess. username must be that mailbox.",
		cmp.Or(r.jwt.Application, "CLIENT-ID"), r.User)
}

// switchOn says how SMTP AUTH is switched on for the mailbox, whose setting goes before the tenant's.
func (r *run) switchOn(tenant bool) string {
	mailbox := "Set-CASMailbox -Identity " + cmp.Or(r.User, "MAILBOX") +
		" -SmtpClientAuthenticationDisabled $false"
	where := "SMTP AUTH is off for this mailbox. "
	if tenant {
		where = "SMTP AUTH is off for the tenant, and the mailbox has no setting of its own. "
	}
	return where + "Switch it on for the mailbox, in Exchange Online PowerShell: " + mailbox +
		"; or in the Microsoft 365 admin center: Active users, the mailbox, Mail, Manage email apps, " +
		"Authenticated SMTP."
}
