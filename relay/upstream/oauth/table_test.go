package oauth

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest/oauthtest"
)

const clientID = "11111111-2222-3333-4444-555555555555"

// scripted is an endpoint that always answers a.
func scripted(a *oauthtest.Answer) (*oauthtest.Server, *ClientCredentials) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Secret: "marked-secret",
		Script: func(oauthtest.Request) *oauthtest.Answer { return a }})
	return s, withSecret(s, "marked-secret")
}

func withSecret(s *oauthtest.Server, secret string) *ClientCredentials {
	return &ClientCredentials{Scope: "scope", Endpoint: Endpoint{
		TokenURL: s.URL("/token"), ClientID: clientID, HTTP: s,
		Proof: &ClientSecret{Read: func() (string, error) { return secret, nil }},
	}}
}

// fetchError is the fault of a Source, which must have one.
func fetchError(t *testing.T, s Source) *Error {
	t.Helper()
	_, err := s.Fetch(t.Context())
	var f *Error
	if !errors.As(err, &f) {
		t.Fatalf("%T %v, want an *Error", err, err)
	}
	if f.Fix == "" || f.Who == "" || f.Reason == "" {
		t.Errorf("%+v does not say what it means or what to do", f)
	}
	return f
}

// refusal is an answer of an endpoint, and what it means.
type refusal struct {
	name   string
	answer *oauthtest.Answer
	reason diagnose.Reason
	who    Who
	passes bool
}

// refusals are the errors of the reference's table, in the words of the endpoints where those are known.
func refusals() []refusal {
	ms, google := oauthtest.Refusal, oauthtest.Google
	status := func(n int) *oauthtest.Answer { return &oauthtest.Answer{Status: n, Body: "<html>"} }
	return []refusal{
		{"7000215", ms("invalid_client", 7000215,
			"Invalid client secret provided. Ensure the secret being sent in the request is the "+
				"client secret value, not the client secret ID, for a secret added to app 'x'."),
			ReasonSecret, WhoAppAdmin, false},
		{"7000222", ms("invalid_client", 7000222,
			"The provided client secret keys for app 'x' are expired. Visit the Azure portal to "+
				"create new keys for your app."), ReasonSecret, WhoAppAdmin, false},
		{"700027", ms("invalid_client", 700027,
			"Client assertion failed signature validation."), ReasonCertificate, WhoAppAdmin, false},
		{"700030", ms("invalid_client", 700030,
			"Invalid certificate - subject name in certificate is not authorized."),
			ReasonCertificate, WhoAppAdmin, false},
		{"50012", ms("invalid_client", 50012,
			"Authentication failed."), ReasonCertificate, WhoAppAdmin, false},
		{"700025", ms("invalid_client", 700025,
			"Client is public so neither 'client_assertion' nor 'client_secret' should be presented."),
			ReasonPublic, WhoAppAdmin, false},
		{"700016", ms("unauthorized_client", 700016,
			"Application with identifier 'x' was not found in the directory 'y'. This can happen if "+
				"the application has not been installed by the administrator of the tenant or consented "+
				"to by any user in the tenant."), ReasonApplication, WhoConfig, false},
		{"700011", ms("invalid_request", 700011,
			"Application with identifier x was not found in the directory."),
			ReasonApplication, WhoConfig, false},
		{"90002", ms("invalid_request", 90002,
			"Tenant 'x' not found. Check to make sure you have the correct tenant ID and are signing "+
				"into the correct cloud."), ReasonApplication, WhoConfig, false},
		{"90038", ms("invalid_request", 90038,
			"Tenant 'x' request is being redirected to the National Cloud."),
			ReasonApplication, WhoConfig, false},
		{"9001023", ms("invalid_request", 9001023,
			"The grant type is not supported over the /common or /consumers endpoints. Please use the "+
				"/organizations or tenant-specific endpoint."), ReasonApplication, WhoConfig, false},
		{"70011", ms("invalid_scope", 70011,
			"The provided request must include a 'scope' input parameter."), ReasonScope, WhoConfig, false},
		{"28002", ms("invalid_request", 28002,
			"Provided value for the input parameter scope is not valid."), ReasonScope, WhoConfig, false},
		{"500011", ms("invalid_resource", 500011,
			"The resource principal named x was not found in the tenant named y. This can happen if "+
				"the application has not been installed by the administrator of the tenant or consented "+
				"to by any user in the tenant."), ReasonScope, WhoConfig, false},
		{"650057", ms("invalid_resource", 650057,
			"Invalid resource. The client has requested access to a resource which is not listed in "+
				"the requested permissions in the client's application registration."),
			ReasonScope, WhoConfig, false},
		{"70001", ms("unauthorized_client", 70001,
			"The application is disabled."), ReasonDisabled, WhoTenantAdmin, false},
		{"65001", ms("invalid_grant", 65001,
			"The user or administrator has not consented to use the application with ID 'x' named "+
				"'y'."), ReasonConsent, WhoTenantAdmin, false},
		{"650056", ms("invalid_client", 650056,
			"Misconfigured application. This could be due to one of the following: the client has not "+
				"listed any permissions in the requested permissions."),
			ReasonConsent, WhoTenantAdmin, false},
		{"70000", ms("invalid_grant", 70000,
			"The provided value for the 'refresh_token' is not valid."), ReasonSignIn, WhoLogin, false},
		{"70008", ms("invalid_grant", 70008,
			"The provided authorization code or refresh token has expired due to inactivity."),
			ReasonSignIn, WhoLogin, false},
		{"700082", ms("invalid_grant", 700082,
			"The refresh token has expired due to inactivity. The token was issued on x and was "+
				"inactive for 90.00:00:00."), ReasonSignIn, WhoLogin, false},
		{"70043", ms("invalid_grant", 70043,
			"The refresh token has expired or is invalid due to sign-in frequency checks by "+
				"conditional access."), ReasonBlocked, WhoTenantAdmin, false},
		{"53003", ms("invalid_grant", 53003,
			"Access has been blocked by Conditional Access policies. The access policy does not allow "+
				"token issuance."), ReasonBlocked, WhoTenantAdmin, false},
		{"50076", ms("interaction_required", 50076,
			"Due to a configuration change made by your administrator, or because you moved to a new "+
				"location, you must use multi-factor authentication to access 'x'."),
			ReasonBlocked, WhoTenantAdmin, false},
		{"500133", ms("invalid_request", 500133,
			"Assertion is not within its valid time range."), ReasonClock, WhoHost, false},
		{"700024", ms("invalid_client", 700024,
			"Client assertion is not within its valid time range."), ReasonClock, WhoHost, false},
		{"90006", ms("server_error", 90006, "External server error."), ReasonUnavailable, WhoNobody, true},
		{"90012", ms("invalid_request", 90012,
			"The request has timed out."), ReasonUnavailable, WhoNobody, true},
		{"90024", ms("invalid_request", 90024,
			"RequestBudgetExceededError."), ReasonUnavailable, WhoNobody, true},
		{"90033", ms("temporarily_unavailable", 90033,
			"A transient error has occurred. Please try again."), ReasonUnavailable, WhoNobody, true},
		{"90055", ms("temporarily_unavailable", 90055,
			"Server is too busy for this tenant."), ReasonThrottled, WhoOperator, true},
		{"temporarily_unavailable", google("temporarily_unavailable",
			"try later"), ReasonUnavailable, WhoNobody, true},
		{"429", status(429), ReasonUnavailable, WhoNobody, true},
		{"500", status(500), ReasonUnavailable, WhoNobody, true},
		{"503", status(503), ReasonUnavailable, WhoNobody, true},
		{"70016", ms("authorization_pending", 70016,
			"OAuth 2.0 device flow error."), ReasonSignIn, WhoUser, true},
		{"70018", ms("bad_verification_code", 70018,
			"Bad verification code."), ReasonSignIn, WhoUser, false},
		{"70019", ms("expired_token", 70019, "Verification code expired."), ReasonSignIn, WhoUser, false},
		{"Google, revoked", google("invalid_grant",
			"Token has been expired or revoked."), ReasonSignIn, WhoLogin, false},
		{"Google, mailbox", google("invalid_grant",
			"Invalid email or User ID"), ReasonMailbox, WhoConfig, false},
		{"Google, clock", google("invalid_grant",
			"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "+
				"timeframe. Check your iat and exp values in the JWT claim."), ReasonClock, WhoHost, false},
		{"Google, key", google("invalid_grant",
			"Invalid JWT Signature."), ReasonCertificate, WhoAppAdmin, false},
		{"Google, delegation", google("unauthorized_client",
			"Client is unauthorized to retrieve access tokens using this method, or client not "+
				"authorized for any of the scopes requested."), ReasonDelegation, WhoWorkspaceAdmin, false},
		{"bare invalid_grant", google("invalid_grant", "Bad Request"), ReasonSignIn, WhoLogin, false},
		{"bare invalid_client", google("invalid_client", "Unauthorized"), ReasonSecret, WhoAppAdmin, false},
		{"bare invalid_scope", google("invalid_scope", "no"), ReasonScope, WhoConfig, false},
		{"bare consent", google("consent_required", "no"), ReasonConsent, WhoTenantAdmin, false},
		{"bare interaction", google("interaction_required", "no"), ReasonBlocked, WhoTenantAdmin, false},
		{"denied", google("access_denied", "The user denied the request"), ReasonConsent, WhoUser, false},
		{"deleted client", google("deleted_client",
			"The OAuth client was deleted."), ReasonApplication, WhoAppAdmin, false},
		{"unknown", google("invalid_request", "something new"), ReasonFailed, WhoOperator, false},
		{"404", status(404), ReasonFailed, WhoOperator, false},
	}
}

// TestTable: each refusal says what it means and who must act, and package diagnose reads the same out of
// its words.
func TestTable(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range refusals() {
		t.Run(tt.name, func(t *testing.T) {
			_, c := scripted(tt.answer)
			f := fetchError(t, c)
			if f.Reason != tt.reason || f.Who != tt.who || f.Temporary != tt.passes {
				t.Errorf("%s, %s, temporary %v; want %s, %s, %v", f.Reason, f.Who, f.Temporary, tt.reason,
					tt.who, tt.passes)
			}
			failed := diagnose.NetErr{Kind: diagnose.NetOAuthToken, Text: f.Error(), Reason: f.Reason}
			d := engine.Diagnose(diagnose.Symptom{Stage: diagnose.StageAuth, NetErr: failed})
			if d.Reason != tt.reason || d.Scope != diagnose.ScopeUpstream {
				t.Errorf("diagnosed as %s, scope %s", d.Reason, d.Scope)
			}
			failed.Reason = "" // as when somebody asks about a line of another program's log
			d = engine.Diagnose(diagnose.Symptom{Stage: diagnose.StageAuth, NetErr: failed})
			if d.Reason != tt.reason && len(f.Numbers) > 0 && tt.who != WhoUser {
				t.Errorf("the words alone are diagnosed as %s (%s): %s", d.Reason, d.Rule, f)
			}
		})
	}
}

// TestTableIsCovered: no entry of the table is without a refusal above, or hidden by an entry before it.
func TestTableIsCovered(t *testing.T) {
	hit := map[string]bool{}
	for _, tt := range refusals() {
		_, c := scripted(tt.answer)
		f := fetchError(t, c)
		hit[string(f.Reason)+f.Fix] = true
	}
	for _, e := range table() {
		if !hit[string(e.reason)+e.fix] {
			t.Errorf("no refusal is explained by %+v", e)
		}
	}
}

func TestFaultNamesWhatWasSaid(t *testing.T) {
	_, c := scripted(oauthtest.Refusal("invalid_client", 7000222,
		"The provided client secret keys are expired."))
	f := fetchError(t, c)
	want := "no OAuth token from login.test: invalid_client: AADSTS7000222: The provided " +
		"client secret keys are expired. (correlation id " + oauthtest.Correlation + ")"
	if f.Error() != want || f.Status != http.StatusBadRequest {
		t.Errorf("status %d\n got %s\nwant %s", f.Status, f, want)
	}
	f = &Error{Reason: ReasonClock, Numbers: []int{700024}, Skew: -7 * time.Minute}
	if got := f.Error(); !strings.Contains(got, "AADSTS700024") ||
		!strings.HasSuffix(got, "the clock of this machine is 7m0s ahead of the endpoint's") {
		t.Error(got)
	}
}

func TestSecretIDIsNamed(t *testing.T) {
	s, _ := scripted(oauthtest.Refusal("invalid_client", 7000215, "Invalid client secret provided."))
	f := fetchError(t, withSecret(s, "0a1b2c3d-0000-1111-2222-333344445555"))
	if !strings.Contains(f.Fix, "looks like its Secret ID") {
		t.Error(f.Fix)
	}
}
