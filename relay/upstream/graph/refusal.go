package graph

import (
	"encoding/json"
	"net/http"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/upstream/httpapi"
)

// meanings is what the error codes of Graph and Exchange Online mean for sendMail, in lower case. A code that
// is not here defers the message, unless the HTTP status says more.
func meanings() map[string]httpapi.Outcome {
	account := func(stage diagnose.Stage, r diagnose.Reason) httpapi.Outcome {
		return httpapi.Outcome{Stage: stage, Class: 5, Fault: true, Reason: r}
	}
	atMail := func(class int, r diagnose.Reason) httpapi.Outcome {
		return httpapi.Outcome{Stage: diagnose.StageMail, Class: class, Reason: r}
	}
	content := func(class int, r diagnose.Reason) httpapi.Outcome {
		return httpapi.Outcome{Stage: diagnose.StageEndOfData, Class: class, Reason: r}
	}
	recipients := httpapi.Outcome{Stage: diagnose.StageRcpt, Class: 5, Reason: "bad_address_syntax"}
	const credentials, mailbox = "api_credentials_refused", "api_mailbox_unusable"
	return map[string]httpapi.Outcome{
		"invalidauthenticationtoken": account(diagnose.StageAuth, credentials),
		"unauthenticated":            account(diagnose.StageAuth, credentials),
		"authenticationerror":        account(diagnose.StageAuth, credentials),

		"mailboxnotenabledforrestapi":         account(diagnose.StageMail, mailbox),
		"mailboxnotsupportedforrestapi":       account(diagnose.StageMail, mailbox),
		"mailboxnothostedinexchangeonline":    account(diagnose.StageMail, mailbox),
		"resourcenotfound":                    account(diagnose.StageMail, mailbox),
		"request_resourcenotfound":            account(diagnose.StageMail, mailbox),
		"errorinvaliduser":                    account(diagnose.StageMail, mailbox),
		"errormailboxmoveinprogress":          content(4, "api_unavailable"),
		"erroraccountdisabled":                account(diagnose.StageMail, "account_suspended"),
		"authorization_requestdenied":         account(diagnose.StageMail, "api_permission_missing"),
		"erroraccessdenied":                   account(diagnose.StageMail, "api_permission_missing"),
		"accessdenied":                        account(diagnose.StageMail, "api_permission_missing"),
		"errormessagesubmissionblocked":       account(diagnose.StageMail, "account_restricted"),
		"errorsendasdenied":                   atMail(5, "send_as_denied"),
		"errorsendonbehalfdenied":             atMail(5, "send_as_denied"),
		"errorinvalidrecipients":              recipients,
		"errormessagesizeexceeded":            content(5, "message_too_large"),
		"requestentitytoolarge":               content(5, "message_too_large"),
		"errormimecontentinvalid":             content(5, "malformed_message"),
		"errormimecontentinvalidbase64string": content(5, "malformed_message"),
		"errorexceededmessagelimit":           atMail(4, "quota_exceeded"),
		"errorquotaexceeded":                  atMail(4, "quota_exceeded"),
		"erroroverquota":                      atMail(4, "quota_exceeded"),
		"applicationthrottled":                atMail(4, "throttled"),
		"mailboxconcurrency":                  atMail(4, "throttled"),
		"toomanyrequests":                     atMail(4, "throttled"),
		"activitylimitreached":                atMail(4, "throttled"),
		"errortoomanyobjectsopened":           atMail(4, "throttled"),
		"errorserverbusy":                     content(4, "api_unavailable"),
		"errortimeoutexpired":                 content(4, "api_unavailable"),
		"errorinternalservertransienterror":   content(4, "api_unavailable"),
		"errorinternalservererror":            content(4, "api_unavailable"),
		"errormailboxstoreunavailable":        content(4, "api_unavailable"),
		"errorconnectionfailed":               content(4, "api_unavailable"),
		"generalexception":                    content(4, "api_unavailable"),
		"serviceunavailable":                  content(4, "api_unavailable"),
		"servicenotavailable":                 content(4, "api_unavailable"),
		"invalidrequest":                      content(5, ""),
		"errorinvalidrequest":                 content(5, ""),
		"errorinvalidparameter":               content(5, ""),
	}
}

// refusal is what an answer other than 202 means.
func (c *Client) refusal(a *httpapi.Answer) httpapi.Outcome {
	var body struct {
		Error struct{ Code, Message string }
	}
	_ = json.Unmarshal(a.Body, &body) // what is not JSON has no code
	code := clean.Line(body.Error.Code, 100)
	o, known := meanings()[strings.ToLower(code)]
	switch {
	case !known && (a.Status/100 == 2 || a.Foreign()):
		return a.NotReached()
	case a.Status == http.StatusTooManyRequests && !(known && o.Class == 4):
		o = httpapi.ByStatus(a.Status)
	case !known:
		o = httpapi.ByStatus(a.Status)
	}
	o.Text = a.Words(code, body.Error.Message, c.o.Now())
	return o
}
