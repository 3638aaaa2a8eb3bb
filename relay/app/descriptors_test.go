package app

import (
	"testing"

	"mailwhy/config"
)

// TestFit: how many connections are left by a limit of open files, and that each number that is lowered is
// reported.
func TestFit(t *testing.T) {
	for _, tt := range []struct{ limit, clients, upstream, warnings int }{
		{limit: 1 << 20, clients: 1000, upstream: 20},
		{limit: 2*1000 + 2*20 + 32, clients: 1000, upstream: 20},
		{limit: 2*1000 + 2*20 + 31, clients: 999, upstream: 20, warnings: 1},
		{limit: 1024, clients: 476, upstream: 20, warnings: 1},
		{limit: 64, clients: 8, upstream: 8, warnings: 2},
		{limit: 32, clients: 2, upstream: 2, warnings: 2},
		{limit: 1, clients: 2, upstream: 2, warnings: 2},
	} {
		given := config.Default()
		given.Upstream = map[string]*config.Upstream{"default": config.DefaultUpstream()}
		cfg := fit(given, tt.limit)
		u := cfg.Upstream["default"]
		if cfg.SMTPD.MaxConnections != tt.clients || u.Concurrency != tt.upstream ||
			len(cfg.Warnings) != tt.warnings {
			t.Errorf("%d: %d clients, %d upstream, %q", tt.limit, cfg.SMTPD.MaxConnections, u.Concurrency,
				cfg.Warnings)
		}
		if given.SMTPD.MaxConnections != 1000 || given.Upstream["default"].Concurrency != 20 ||
			len(given.Warnings) != 0 {
			t.Errorf("%d: the configuration that was given is changed", tt.limit)
		}
	}
}

// TestFitFeedback: the webhooks and the store need their share, where there are any.
func TestFitFeedback(t *testing.T) {
	for _, tt := range []struct {
		limit, clients int
		hooks, pipe    bool
	}{
		{1024, 476, false, false}, {1024, 468, false, true}, {1024, 436, true, true},
		{1 << 20, 1000, true, true}, {64, 3, true, true},
	} {
		given := config.Default()
		given.Upstream = map[string]*config.Upstream{"default": config.DefaultUpstream()}
		given.Feedback.Pipe = tt.pipe
		if tt.hooks {
			given.Feedback.Listen = "127.0.0.1:9126"
		}
		if got := fit(given, tt.limit).SMTPD.MaxConnections; got != tt.clients {
			t.Errorf("%+v: %d clients", tt, got)
		}
	}
	for limit, want := range map[int]int{1: 4, 1024: 64, 1 << 20: 256} {
		if got := hookConnections(limit); got != want {
			t.Errorf("%d open files: %d connections for webhooks, not %d", limit, got, want)
		}
	}
}

// TestFitUpstreams: several upstreams share what there is; one that wants less than its share keeps what it
// wants.
func TestFitUpstreams(t *testing.T) {
	few := config.DefaultUpstream()
	few.Concurrency = 2
	cfg := config.Default()
	cfg.Upstream = map[string]*config.Upstream{"a": config.DefaultUpstream(), "b": few,
		"c": config.DefaultUpstream()}
	cfg = fit(cfg, 32+2*2*12)
	if a, b, c := cfg.Upstream["a"], cfg.Upstream["b"], cfg.Upstream["c"]; a.Concurrency != 4 ||
		b.Concurrency != 2 || c.Concurrency != 4 {
		t.Errorf("%d, %d and %d connections", a.Concurrency, b.Concurrency, c.Concurrency)
	}
	if cfg.SMTPD.MaxConnections != 14 || len(cfg.Warnings) != 3 {
		t.Errorf("%d clients, %q", cfg.SMTPD.MaxConnections, cfg.Warnings)
	}
}
