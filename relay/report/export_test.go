package report

import (
	"context"
	"time"
)

// Round is one look at the due notices, for tests in fake time.
func (r *Reporter) Round(ctx context.Context) time.Duration { return r.round(ctx) }

// Begin is what Run does before its first round.
func (r *Reporter) Begin(ctx context.Context) { r.restoreStorm(ctx) }

// Sweep looks once for reports that were held too long.
func (h *HeldReports) Sweep(ctx context.Context) error { return h.sweep(ctx) }
