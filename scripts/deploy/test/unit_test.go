package deploytest

import (
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// mostExposed is the score that the unit may have at most: 10 is a service without any protection.
const mostExposed = 1.5

// TestUnit: systemd can read the unit, and finds it well protected.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is missing: apt-get install systemd")
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager",
		"../systemd/mailwhy.service").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no score in:\n%s", out)
	}
	if score, err := strconv.ParseFloat(string(m[1]), 64); err != nil || score > mostExposed {
		t.Errorf("its exposure is %s, at most %v is wanted", m[1], mostExposed)
	}
	if m := regexp.MustCompile(`(?m)^.*(Unknown|Failed|Invalid).*$`).Find(out); m != nil {
		t.Errorf("systemd says: %s", m)
	}
}
