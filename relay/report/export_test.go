package report

import (
	"context"
	"time"
)

// Turn is one look at the due notices, for tests in fake time.
func (r *Reporter) Turn(ctx context.Context) time.Duration { return r.turn(ctx) }

// Begin is what Run does before its first turn.
func (r *Reporter) Begin(ctx context.Context) { r.restoreStorm(ctx) }

// Sweep looks once for reports that were held too long.
func (h *HeldReports) Sweep(ctx context.Context) error { return h.sweep(ctx) }
