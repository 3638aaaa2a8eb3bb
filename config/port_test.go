package config

import (
	"slices"
	"strings"
	"testing"
)

// TestPortAgainstTLS warns where port and TLS mode contradict each other, and nowhere else.
func TestPortAgainstTLS(t *testing.T) {
	tests := []struct{ url, want string }{
		{"smtp://mail.example.com:465?tls=none", `"none", but port 465`},
		{"smtp://mail.example.com:465?tls=opportunistic", `"opportunistic", but port 465`},
		{"smtp://mail.example.com:465?tls=starttls", `"starttls", but port 465`},
		{"smtps://mail.example.com:25", `"implicit", but port 25`},
		{"smtps://mail.example.com:587", `"implicit", but port 587`},
		{"smtp://mail.example.com:465", ""},
		{"smtps://mail.example.com", ""},
		{"smtps://mail.example.com:2465", ""},
		{"smtp://mail.example.com:587?tls=starttls", ""},
		{"smtp://mail.example.com", ""},
	}
	for _, tt := range tests {
		c := mustLoad(t, Source{Flags: up(tt.url)})
		about := func(w string) bool { return strings.HasPrefix(w, "upstream.default.tls is "+tt.want) }
		if len(c.Warnings) > 0 != (tt.want != "") || tt.want != "" &&
			!slices.ContainsFunc(c.Warnings, about) {
			t.Errorf("%s: warnings %q, want one that says %s", tt.url, c.Warnings, tt.want)
		}
	}
}

// TestPatienceWarning: who has applications wait longer than some of them do is told so, and nobody else.
func TestPatienceWarning(t *testing.T) {
	for env, want := range map[string]bool{
		"MAILWHY_ACCEPT_MODE=try": false, "MAILWHY_ACCEPT_TRY_FOR=1m": false,
		"MAILWHY_ACCEPT_MODE=try MAILWHY_ACCEPT_TRY_FOR=1m": true,
	} {
		c := mustLoad(t, Source{Env: append(strings.Fields(env), "MAILWHY_UPSTREAM=smtp://mail.example.com")})
		about := func(w string) bool { return strings.HasPrefix(w, "accept.try_for is 1m,") }
		if got := slices.ContainsFunc(c.Warnings, about); got != want {
			t.Errorf("%s: warnings %q", env, c.Warnings)
		}
	}
}
