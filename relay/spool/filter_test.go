package spool

import (
	"testing"
)

func TestAddressMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, address string
		want             bool
	}{
		{"app@shop.example", "APP@shop.Example", true},
		{"app@shop.example", "cron@shop.example", false},
		{"@SHOP.example", "app@shop.example", true},
		{"@shop.example", "app@sub.shop.example", false},
		{"@shop.example", `"a@shop.example"@other.example`, false},
		{"@shop.example", "", false},
		{"<>", "", true},
		{"<>", "app@shop.example", false},
	} {
		if got := addressMatches(tc.pattern, tc.address); got != tc.want {
			t.Errorf("addressMatches(%q, %q) = %v", tc.pattern, tc.address, got)
		}
	}
}
