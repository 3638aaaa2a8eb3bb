package diagnose

import "testing"

// TestNetErrReason: who met a failure may say what it means; a reason that the guide does not know is
// ignored, and beside a reply the reply decides.
func TestNetErrReason(t *testing.T) {
	e := newEngine(t)
	text := "AADSTS7000215: Invalid client secret provided."
	for _, tt := range []struct {
		given, want Reason
		reply       string
	}{
		{given: "", want: "oauth_secret_invalid"},
		{given: "oauth_clock_wrong", want: "oauth_clock_wrong"},
		{given: "of_another_version", want: "oauth_secret_invalid"},
		{given: "oauth_clock_wrong", want: "auth_failed",
			reply: "535 5.7.3 Authentication unsuccessful"},
	} {
		d := e.Diagnose(Symptom{Stage: StageAuth, Reply: ParseReply(tt.reply),
			NetErr: NetErr{Kind: NetOAuthToken, Text: text, Reason: tt.given}})
		if d.Reason != tt.want {
			t.Errorf("%+v: %s", tt, d.Reason)
		}
	}
}

// TestAPI: of an HTTP API the caller knows what a code means, else the words are read, as those of a server.
func TestAPI(t *testing.T) {
	e := newEngine(t)
	for _, tt := range []struct {
		words       string
		given, want Reason
	}{
		{"HTTP 400 AccountSuspendedException: no", "account_suspended", "account_suspended"},
		{"HTTP 400 MessageRejected: Email address is not verified. The following identities failed the " +
			"check in region EU-WEST-1: app@shop.example", "", "sender_not_verified"},
		{"HTTP 429 TooManyRequestsException: Maximum sending rate exceeded.", "", "throttled"},
		{"HTTP 429 LimitExceededException: Daily message quota exceeded.", "", "quota_exceeded"},
		{"HTTP 400 SomeNewException: The moon is in the wrong phase", "", "api_refused"},
		{"HTTP 400", "", "api_refused"},
	} {
		d := e.Diagnose(Symptom{Stage: StageEndOfData,
			NetErr: NetErr{Kind: NetAPI, Text: tt.words, Reason: tt.given}})
		if d.Reason != tt.want {
			t.Errorf("%s: %s by %s, want %s", tt.words, d.Reason, d.Rule, tt.want)
		}
	}
	d := e.Diagnose(Symptom{NetErr: NetErr{Kind: NetAPI, Reason: "throttled",
		Text: "HTTP 429 ApplicationThrottled: slow down; retry after 90 seconds"}})
	if d.RetryAfter != Seconds(90e9) {
		t.Errorf("retry after %v", d.RetryAfter)
	}
}
