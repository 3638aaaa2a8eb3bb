package imitation_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/preset"
	"mailwhy/relay/smtptest/imitation"
)

// TestAgreesWithPresets: there is an imitation of every preset, and a client that keeps to the preset stays
// within the limits of the imitation.
func TestAgreesWithPresets(t *testing.T) {
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	all, err := imitation.Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(set.All) {
		t.Errorf("%d imitations of %d presets", len(all), len(set.All))
	}
	for _, i := range all {
		p := set.ByName(i.Name)
		if p == nil {
			t.Errorf("there is no preset %s", i.Name)
			continue
		}
		compare(t, i, p)
	}
}

// compare holds one imitation to its preset.
func compare(t *testing.T, i *imitation.Imitation, p *preset.Preset) {
	t.Helper()
	for _, l := range []struct {
		name string
		min  int64
		max  imitation.Limit
	}{
		{"connections", int64(p.Connections.Value), i.Connections},
		{"recipients", int64(p.Recipients.Value), i.Recipients},
		{"messages", int64(p.Messages.Value), i.Messages},
		{"size", p.Size.Value, i.Size},
	} {
		if l.max.Limit > 0 && l.min > l.max.Limit {
			t.Errorf("%s: %s %d of the preset is above the limit %d", i.Name, l.name, l.min, l.max.Limit)
		}
	}
	if time.Duration(p.Idle.Value) >= time.Duration(i.Idle.After) {
		t.Errorf("%s: idle %s of the preset is not below %s", i.Name, p.Idle.Value,
			time.Duration(i.Idle.After))
	}
	if (p.Ports.Value[0].Mode == preset.Implicit) != i.Implicit {
		t.Errorf("%s: TLS begins otherwise than on the best port of the preset", i.Name)
	}
	known := p.NullSender.Value == preset.Refused && p.NullSender.Source != preset.SafeRow
	if refuses := i.NullSender.At != ""; refuses != known {
		t.Errorf("%s: the null sender is refused: %t; by the preset: %t", i.Name, refuses, known)
	}
	if (i.Hello.Reply != "") != p.Hello.Value {
		t.Errorf("%s: hello", i.Name)
	}
	for _, m := range p.Auth.Value {
		if !slices.Contains(i.Mechanisms(), m) {
			t.Errorf("%s: %s of the preset is not offered: %q", i.Name, m, i.Mechanisms())
		}
	}
}

// TestDocumented: docs/practice.md names every imitation.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/practice.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := imitation.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if !strings.Contains(string(page), "`"+i.Name+"`") {
			t.Errorf("docs/practice.md does not name %s", i.Name)
		}
	}
}
