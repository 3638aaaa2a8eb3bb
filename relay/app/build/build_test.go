package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestFrom(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "c0ffee"},
		{Key: "vcs.time", Value: "2026-11-29T18:00:00Z"}, {Key: "vcs.modified", Value: "true"}}
	for _, tc := range []struct {
		bi   debug.BuildInfo
		tag  string
		want string
	}{
		{debug.BuildInfo{}, "", "mailwhy (devel)\n"},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "", "mailwhy v1.2.3\n"},
		{debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "v1.2.3", "mailwhy v1.2.3\n"},
		{debug.BuildInfo{Settings: vcs}, "v1.2.3",
			"mailwhy v1.2.3\ncommit  c0ffee of 2026-11-29T18:00:00Z, with changes\n"},
	} {
		if got := from(&tc.bi, tc.tag).String(); !strings.HasPrefix(got, tc.want) {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
}

// TestBuildScript: scripts/build.sh makes a static binary that knows the version it was given, and no path of
// the machine.
func TestBuildScript(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	bin := filepath.Join(t.TempDir(), "mailwhy")
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "scripts/build.sh", bin)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "VERSION=v9.8.7")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(bin, "--version").Output()
	if err != nil || string(out) != "mailwhy v9.8.7\n" {
		t.Errorf("%q, %v", out, err)
	}
	binary, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(binary), root) {
		t.Errorf("the binary contains %s", root)
	}
}
