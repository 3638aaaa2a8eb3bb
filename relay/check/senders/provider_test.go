package senders

import (
	"strings"
	"testing"
)

// Each provider is found by its own hosts, and its selectors' targets fit what is proposed for them.
func TestProviders(t *testing.T) {
	for i := range providers {
		want := &providers[i]
		for _, pattern := range want.hosts {
			host := strings.NewReplacer("{region}", "eu-west-1", "*", "x").Replace(pattern)
			p, region := byHost(strings.ToUpper(host) + ".")
			if p != want {
				t.Errorf("%s is not found by %s", want.title, host)
			}
			if strings.Contains(pattern, "{region}") != (region == "eu-west-1") {
				t.Errorf("%s: region %q", host, region)
			}
		}
		p := &pair{up: &Upstream{}, provider: want, region: "eu-west-1"}
		for _, s := range want.dkim {
			for _, target := range s.targets {
				value := strings.ReplaceAll(p.value(target, "a.example"), "<shown by "+want.title+">", "x")
				if strings.ContainsAny(value, "{}*<>") || !p.matches(value, "a.example", s.targets) {
					t.Errorf("%s: %s does not fit its own pattern", want.title, value)
				}
			}
		}
		if (want.path == aliasPath || want.path == exchangePath) != (len(want.targets) > 0) {
			t.Errorf("%s: the return path and its targets do not agree", want.title)
		}
	}
	for _, host := range []string{"", "office365.com", "evil-smtp.office365.com",
		"smtp.office365.com.evil.example"} {
		if p, _ := byHost(host); p != nil {
			t.Errorf("%s is taken for %s", host, p.title)
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
