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
