package oauth

import (
	"slices"
	"strings"

	"mailwhy/diagnose"
)

// The reasons, as in package diagnose's guide.
const (
	ReasonFailed      diagnose.Reason = "oauth_token_failed"
	ReasonSecret      diagnose.Reason = "oauth_secret_invalid"
	ReasonCertificate diagnose.Reason = "oauth_certificate_invalid"
	ReasonPublic      diagnose.Reason = "oauth_client_public"
	ReasonApplication diagnose.Reason = "oauth_application_unknown"
	ReasonScope       diagnose.Reason = "oauth_scope_wrong"
	ReasonDisabled    diagnose.Reason = "oauth_application_disabled"
	ReasonConsent     diagnose.Reason = "oauth_consent_missing"
	ReasonSignIn      diagnose.Reason = "oauth_sign_in_required"
	ReasonBlocked     diagnose.Reason = "oauth_sign_in_blocked"
	ReasonClock       diagnose.Reason = "oauth_clock_wrong"
	ReasonUnavailable diagnose.Reason = "oauth_unavailable"
	ReasonThrottled   diagnose.Reason = "oauth_throttled"
	ReasonDelegation  diagnose.Reason = "oauth_delegation_missing"
	ReasonMailbox     diagnose.Reason = "oauth_mailbox_unknown"
	ReasonUnreadable  diagnose.Reason = "oauth_credentials_unreadable"
	ReasonAuthority   diagnose.Reason = "tls_unknown_authority" // these three of the endpoint's certificate
	ReasonName        diagnose.Reason = "tls_wrong_name"
	ReasonExpired     diagnose.Reason = "tls_certificate_expired"
)

// entry is what errors of one kind mean. An error is of that kind if it has one of the numbers, or one of the
// codes together with the text, if there is one.
type entry struct {
	numbers []int    // AADSTS
	codes   []string // of RFC 6749 and its like
	text    string   // in the description, lower case
	status  int      // of HTTP, for an error without a code
	reason  diagnose.Reason
	who     Who
	fix     string
	passes  bool // it ends by itself
}

// table is searched in order. Microsoft documents numbers and codes as stable, texts not; Google gives one
// code for many things and only its text tells them apart.
func table() []entry {
	return slices.Concat(numbered(), google(), device(), coded())
}

// numbered are Microsoft's errors, by number.
func numbered() []entry {
	return []entry{
		{numbers: []int{7000215}, reason: ReasonSecret, who: WhoAppAdmin,
			fix: "Set the value of the client secret; its Secret ID, which looks like a GUID, is not it."},
		{numbers: []int{7000222}, reason: ReasonSecret, who: WhoAppAdmin,
			fix: "The client secret has expired: create a new one and set its value."},
		{numbers: []int{700027, 700030, 50012}, reason: ReasonCertificate, who: WhoAppAdmin,
			fix: "Upload the certificate that the relay signs with to the app registration."},
		{numbers: []int{700025}, reason: ReasonPublic, who: WhoAppAdmin,
			fix: "Remove the secret or certificate, or register the application as a confidential client."},
		{numbers: []int{700016, 700011, 90002, 90038, 9001023}, reason: ReasonApplication, who: WhoConfig,
			fix: "Correct the client id, the tenant or the cloud."},
		{numbers: []int{70011, 28002, 500011, 650057}, reason: ReasonScope, who: WhoConfig,
			fix: "Correct the scope: it names a resource that this application cannot ask for."},
		{numbers: []int{70001}, reason: ReasonDisabled, who: WhoTenantAdmin,
			fix: "Enable the application in the tenant (Enterprise applications, Properties)."},
		{numbers: []int{65001, 650056}, reason: ReasonConsent, who: WhoTenantAdmin,
			fix: "Grant admin consent for the application's permission to send mail."},
		{numbers: []int{70043, 53003, 53000, 50076, 50079}, reason: ReasonBlocked, who: WhoTenantAdmin,
			fix: "Exempt the application or account from the Conditional Access policy, or meet the policy."},
		{numbers: []int{500133, 700024}, reason: ReasonClock, who: WhoHost,
			fix: "Set the clock of this machine, with NTP or chrony."},
		{numbers: []int{90055}, reason: ReasonThrottled, who: WhoOperator, passes: true,
			fix: "Ask for fewer tokens: the whole tenant is throttled."},
		{numbers: []int{90006, 90012, 90024, 90033}, reason: ReasonUnavailable, who: WhoNobody, passes: true,
			fix: "Wait: the relay tries again by itself."},
		{numbers: []int{70016}, reason: ReasonSignIn, who: WhoUser, passes: true,
			fix: "Enter the code that was shown."},
		{numbers: []int{70018, 70019}, reason: ReasonSignIn, who: WhoUser,
			fix: "Begin again with mailwhy auth login: the code is wrong or has expired."},
		{numbers: []int{70000, 70008, 700082, 700084, 50173, 50078}, reason: ReasonSignIn, who: WhoLogin,
			fix: "Log in again with mailwhy auth login: the refresh token is invalid, unused for long " +
				"or revoked."},
	}
}

// google are Google's errors, which share their codes.
func google() []entry {
	return []entry{
		{codes: []string{"invalid_grant"}, text: "reasonable timeframe", reason: ReasonClock, who: WhoHost,
			fix: "Set the clock of this machine, with NTP or chrony."},
		{codes: []string{"invalid_grant"}, text: "invalid email or user id", reason: ReasonMailbox,
			who: WhoConfig, fix: "Set the user to the address of an existing mailbox in the Workspace."},
		{codes: []string{"invalid_grant"}, text: "expired or revoked", reason: ReasonSignIn, who: WhoLogin,
			fix: "Log in again with mailwhy auth login; the refresh tokens of an app in Testing live 7 " +
				"days."},
		{codes: []string{"invalid_grant"}, text: "invalid jwt signature", reason: ReasonCertificate,
			who: WhoAppAdmin, fix: "Use a key that the service account still has."},
		{codes: []string{"unauthorized_client"}, text: "unauthorized to retrieve access tokens",
			reason: ReasonDelegation, who: WhoWorkspaceAdmin,
			fix: "Allow the numeric client id the scope https://mail.google.com/ under Domain-wide " +
				"delegation."},
	}
}

// device are the errors of a login by device code (RFC 8628, 3.5).
func device() []entry {
	return []entry{
		{codes: []string{"authorization_pending", "slow_down"}, reason: ReasonSignIn, who: WhoUser,
			passes: true, fix: "Enter the code that was shown."},
		{codes: []string{"expired_token", "code_expired", "bad_verification_code"}, reason: ReasonSignIn,
			who: WhoUser, fix: "Begin again with mailwhy auth login: the code is wrong or has expired."},
		{codes: []string{"access_denied", "authorization_declined"}, reason: ReasonConsent, who: WhoUser,
			fix: "Log in again and agree to the request."},
	}
}

// coded are the codes of RFC 6749, 5.2, and the statuses of HTTP, for what nothing before explains.
func coded() []entry {
	return []entry{
		{codes: []string{"temporarily_unavailable", "server_error"}, reason: ReasonUnavailable,
			who: WhoNobody, passes: true, fix: "Wait: the relay tries again by itself."},
		{codes: []string{"interaction_required"}, reason: ReasonBlocked, who: WhoTenantAdmin,
			fix: "Exempt the application or account from the Conditional Access policy, or meet the policy."},
		{codes: []string{"consent_required"}, reason: ReasonConsent, who: WhoTenantAdmin,
			fix: "Grant admin consent for the application's permission to send mail."},
		{codes: []string{"invalid_client"}, reason: ReasonSecret, who: WhoAppAdmin,
			fix: "Check the client id and the client secret against the app registration."},
		{codes: []string{"unauthorized_client", "deleted_client"}, reason: ReasonApplication,
			who: WhoAppAdmin,
			fix: "Allow the application this way of getting a token, in its registration."},
		{codes: []string{"invalid_scope", "invalid_resource"}, reason: ReasonScope, who: WhoConfig,
			fix: "Correct the scope."},
		{codes: []string{"invalid_grant", "login_required"}, reason: ReasonSignIn, who: WhoLogin,
			fix: "Log in again with mailwhy auth login."},
		{status: 429, reason: ReasonUnavailable, who: WhoNobody, passes: true,
			fix: "Wait: the relay tries again by itself."},
		{status: 5, reason: ReasonUnavailable, who: WhoNobody, passes: true,
			fix: "Wait: the relay tries again by itself."},
	}
}

// classify says what f means and who must act.
func (f *Error) classify() {
	for _, e := range table() {
		if e.matches(f) {
			f.Reason, f.Who, f.Fix, f.Temporary = e.reason, e.who, e.fix, e.passes
			return
		}
	}
	f.Reason, f.Who = ReasonFailed, WhoOperator
	f.Fix = "Check the client id, the tenant, the scope and the token URL."
}

// matches reports whether f is of the kind e.
func (e *entry) matches(f *Error) bool {
	switch {
	case len(e.numbers) > 0:
		return slices.ContainsFunc(f.Numbers, func(n int) bool { return slices.Contains(e.numbers, n) })
	case len(e.codes) > 0:
		return slices.Contains(e.codes, f.Code) && strings.Contains(strings.ToLower(f.Description), e.text)
	}
	return f.Status == e.status || f.Status/100 == e.status
}
