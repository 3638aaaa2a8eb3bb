package sesapi

import (
	"encoding/json"
	"errors"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/upstream/httpapi"
)

// meanings is what the error codes mean that SES and AWS document for these calls, in lower case and without
// "Exception". A code that is not here defers the message, unless the HTTP status says more.
func meanings() map[string]httpapi.Outcome {
	account := func(r diagnose.Reason) httpapi.Outcome {
		return httpapi.Outcome{Stage: diagnose.StageMail, Class: 5, Fault: true, Reason: r}
	}
	credentials := func(r diagnose.Reason) httpapi.Outcome {
		return httpapi.Outcome{Stage: diagnose.StageAuth, Class: 5, Fault: true, Reason: r}
	}
	limit := func(r diagnose.Reason) httpapi.Outcome {
		return httpapi.Outcome{Stage: diagnose.StageMail, Class: 4, Reason: r}
	}
	said := httpapi.Outcome{Stage: diagnose.StageEndOfData, Class: 5} // its words say what is wrong
	unavailable := httpapi.Outcome{Stage: diagnose.StageEndOfData, Class: 4, Reason: "api_unavailable"}
	return map[string]httpapi.Outcome{
		"accountsuspended": account("account_suspended"),
		"sendingpaused":    account("account_suspended"),
		"optinrequired":    account("account_suspended"),

		"mailfromdomainnotverified": {Stage: diagnose.StageMail, Class: 5, Reason: "mail_from_not_verified"},
		"accessdenied":              {Stage: diagnose.StageMail, Class: 5, Reason: "api_permission_missing"},
		"notauthorized":             {Stage: diagnose.StageMail, Class: 5, Reason: "api_permission_missing"},

		"messagerejected": said,
		"badrequest":      said,
		"notfound":        {Stage: diagnose.StageMail, Class: 4}, // a configuration set, which may come
		"validation":      said,

		"toomanyrequests":      limit("throttled"),
		"throttling":           limit("throttled"),
		"throttled":            limit("throttled"),
		"requestlimitexceeded": limit("throttled"),
		"limitexceeded":        limit("quota_exceeded"),

		"signaturedoesnotmatch":      credentials("api_credentials_refused"),
		"invalidsignature":           credentials("api_credentials_refused"),
		"incompletesignature":        credentials("api_credentials_refused"),
		"invalidclienttokenid":       credentials("api_credentials_refused"),
		"unrecognizedclient":         credentials("api_credentials_refused"),
		"missingauthenticationtoken": credentials("api_credentials_refused"),
		"expiredtoken":               credentials("api_credentials_refused"),
		"requestexpired":             credentials("api_clock_wrong"),
		"requesttimetooskewed":       credentials("api_clock_wrong"),

		"internalfailure":        unavailable,
		"internalserviceerror":   unavailable,
		"internalservererror":    unavailable,
		"serviceunavailable":     unavailable,
		"concurrentmodification": unavailable,
	}
}

// refusal is what an answer other than 200 means.
func (c *Client) refusal(a *httpapi.Answer) httpapi.Outcome {
	code, message := errorOf(a)
	o, known := meanings()[strings.TrimSuffix(strings.ToLower(code), "exception")]
	switch {
	case !known && (a.Status/100 == 2 || a.Foreign()):
		return a.NotReached()
	case !known:
		o = httpapi.ByStatus(a.Status)
	}
	o.Text = a.Words(code, message, c.o.Now())
	switch lower := strings.ToLower(message); {
	case strings.Contains(lower, "signature expired"), strings.Contains(lower, "signature not yet current"):
		o.Reason = "api_clock_wrong" // AWS says it under the code of a wrong signature
	case o.Class == 4 && o.Stage == diagnose.StageMail && strings.Contains(lower, "daily message quota"):
		o.Reason = "quota_exceeded"
	case o.Reason == "quota_exceeded" && strings.Contains(lower, "maximum sending rate"):
		o.Reason = "throttled"
	case o.Class == 5 && o.Reason == "" && ofRecipient(lower):
		o.Stage, o.Reason = diagnose.StageRcpt, "bad_address_syntax"
	case o.Class == 5 && o.Reason == "" && strings.Contains(lower, "sending suspended for this account"),
		strings.Contains(lower, "sending is disabled for this account"):
		o.Stage, o.Fault, o.Reason = diagnose.StageMail, true, "account_suspended"
	}
	return o
}

// ofRecipient reports whether the words of a refusal are about an address.
func ofRecipient(lower string) bool {
	for _, words := range []string{"illegal address", "missing final '@domain'", "local address contains",
		"domain contains", "missing local part", "invalid email address", "missing start of quoted"} {
		if strings.Contains(lower, words) {
			return true
		}
	}
	return false
}

// errorOf finds the code and the message of an error, in the forms that AWS gives them.
func errorOf(a *httpapi.Answer) (code, message string) {
	var body struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"` // or Message: names match in any case
	}
	_ = json.Unmarshal(a.Body, &body) // what is not JSON has no code
	for _, s := range []string{a.Header.Get("X-Amzn-ErrorType"), body.Type, body.Code} {
		if code == "" {
			code = s
		}
	}
	code, _, _ = strings.Cut(code, ":")
	code = code[strings.LastIndexByte(code, '#')+1:]
	return clean.Line(code, 100), body.Message
}

// denied reports whether a call failed because the role may not make it.
func denied(err error) bool {
	o, ok := errors.AsType[*httpapi.Outcome](err)
	return ok && o.Reason == "api_permission_missing"
}

// missing reports whether a call failed because there is no such thing.
func missing(err error) bool {
	o, ok := errors.AsType[*httpapi.Outcome](err)
	return ok && o.Reason != "api_not_reached" && strings.HasPrefix(o.Text, "HTTP 404")
}
