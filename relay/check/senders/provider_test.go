package senders

import (
	"strings"
	"testing"
)

// The targets of each provider's selectors fit what is proposed for them.
func TestProviders(t *testing.T) {
	for i := range providers {
		want := &providers[i]
		u := &Upstream{Preset: want.preset, Title: "P", Region: "eu-west-1"}
		p := &pair{up: u, provider: ofUpstream(u)}
		if p.provider != want {
			t.Errorf("%s is not found", want.preset)
		}
		targets := [][]string{want.targets}
		for _, s := range want.dkim {
			targets = append(targets, s.targets)
		}
		for _, list := range targets {
			for _, target := range list {
				value := strings.ReplaceAll(p.value(target, "a.example"), "<shown by P>", "x")
				if strings.ContainsAny(value, "{}*<>") || !p.matches(value, "a.example", list) {
					t.Errorf("%s: %s does not fit its own pattern", want.preset, value)
				}
			}
		}
		if (want.path == aliasPath || want.path == exchangePath) != (len(want.targets) > 0) {
			t.Errorf("%s: the return path and its targets do not agree", want.preset)
		}
	}
}

func TestIncluding(t *testing.T) {
	for record, want := range map[string]string{
		"":                                   "v=spf1 include:p.example ~all",
		"v=spf1 mx -all":                     "v=spf1 include:p.example mx -all",
		"V=SPF1":                             "v=spf1 include:p.example",
		"v=spf1  a   include:P.example ?all": "v=spf1 include:p.example a ?all",
		"v=spf1 redirect=o.example":          "v=spf1 include:p.example redirect=o.example",
	} {
		if got := including(record, "p.example"); got != want {
			t.Errorf("%q: %q, want %q", record, got, want)
		}
	}
}

func TestMerged(t *testing.T) {
	got := merged([]string{"v=spf1 a include:x.example -all", "v=spf1 include:x.example mx ~ALL",
		"v=spf1 redirect=o.example"})
	if got != "v=spf1 a include:x.example mx include:o.example -all" {
		t.Error(got)
	}
	if got := merged([]string{"v=spf1 a", "v=spf1 mx"}); got != "v=spf1 a mx ~all" {
		t.Error(got)
	}
}
