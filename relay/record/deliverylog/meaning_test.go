package deliverylog

import (
	"strings"
	"testing"

	"mailwhy/diagnose"
)

// TestMeaningLeadsWithTheReason holds that an own wrong password is headed by what is wrong and who must act,
// not by the guide's label, which names the recipient.
func TestMeaningLeadsWithTheReason(t *testing.T) {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reply := diagnose.ParseReply("535 5.7.8 Authentication failed")
	d := e.Diagnose(diagnose.Symptom{Stage: diagnose.StageAuth, Reply: reply})
	head, _, _ := strings.Cut(string(appendMeaning(nil, &d)), "\n")
	reason := strings.Index(head, "auth failed: the operator must act")
	label := strings.Index(head, "Recipient Error")
	if reason < 0 || label < reason {
		t.Errorf("headed %q", head)
	}
}
