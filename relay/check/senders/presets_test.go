package senders

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/check"
	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/preset"
	"mailwhy/relay/smtptest/dnstest"
)

// said is what is told about mail from example.com by a preset, and the outcome.
func said(t *testing.T, p *preset.Preset, zone string, selectors ...string) (text string, o check.Outcome) {
	t.Helper()
	server := dnstest.Start(t, strings.ReplaceAll(theirs+zone, "KEY", key()))
	c := New(&dnsclient.Client{Servers: []string{server.Addr}, Timeout: 5 * time.Second})
	lines := c.Check(t.Context(), "example.com", []Upstream{{Name: "up", Host: p.Hosts.Value[0],
		Preset: p.Name, Title: p.Title, Region: "eu-west-1", User: "user-1", Selectors: selectors}})
	var all []string
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%s %s %s", l.Level, l.Check, l.Text))
		for _, rec := range l.Records {
			all = append(all, "record "+rec.Type+" "+rec.Name+" "+rec.Value)
		}
	}
	return strings.Join(all, "\n"), lines[len(lines)-1].Outcome
}

// TestEveryPreset: what is the same for all providers, in a zone that has the mistake for each: right by a
// key that is named, nothing there, a key that is named and missing, two SPF records, and eleven lookups.
func TestEveryPreset(t *testing.T) {
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	eleven := `example.com TXT "v=spf1`
	for i := range 11 {
		eleven += fmt.Sprintf(" include:i%d.example", i)
	}
	eleven += " -all\"\n"
	for i := range 11 {
		eleven += fmt.Sprintf("i%d.example TXT \"v=spf1 -all\"\n", i)
	}
	two := `example.com TXT "v=spf1 mx -all"` + "\n" + `example.com TXT "v=spf1 a -all"` + "\n"
	for _, p := range set.All {
		t.Run(p.Name, func(t *testing.T) {
			for _, tt := range []struct {
				name, zone, selector string
				want                 string
				passes               bool
			}{
				{"named key", policy + "named._domainkey.example.com KEY\n", "named",
					"named._domainkey.example.com has a valid key", true},
				{"nothing", policy, "", "warning outcome|failure outcome", false},
				{"named key missing", policy, "named", "named._domainkey.example.com is missing", false},
				{"two SPF records", policy + two, "", "failure spf example.com has 2 SPF records", false},
				{"eleven lookups", policy + eleven, "", "failure spf 11 DNS lookups, at most 10", false},
			} {
				var selectors []string
				if tt.selector != "" {
					selectors = []string{tt.selector}
				}
				text, outcome := said(t, p, tt.zone, selectors...)
				found := false
				for want := range strings.SplitSeq(tt.want, "|") {
					found = found || strings.Contains(strings.ReplaceAll(text, " up:", " "), want)
				}
				passes := outcome == check.ByDKIM || outcome == check.BySPF
				if !found || passes != tt.passes {
					t.Errorf("%s: outcome %q, want %q in\n%s", tt.name, outcome, tt.want, text)
				}
			}
		})
	}
}
