package lane

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
)

// logLine returns the line of the operational log that has all of these, or "".
func logLine(log *bytes.Buffer, parts ...string) string {
next:
	for line := range strings.Lines(log.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue next
			}
		}
		return line
	}
	return ""
}

// TestLaneLogsItsPause: the operational log says why a lane does not run, what to do, and when it runs again.
func TestLaneLogsItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engineBench(t)
		var log bytes.Buffer
		b.logged = &log
		var used atomic.Bool
		used.Store(true)
		b.refuse(diagnose.StageEndOfData, sesQuota, func(string, string) bool { return used.Load() })
		b.putMany(5)
		stop := b.run(t)
		pass(10 * time.Second)
		used.Store(false)
		pass(3 * time.Hour)
		stop()
		if logLine(&log, "level=WARN", `msg="upstream paused"`, "upstream=default", "reason=quota_exceeded",
			"fix=", "cause=", `reply="454 Throttling failure: Daily message quota exceeded."`,
			"next_probe=") == "" {
			t.Errorf("no line about the pause:\n%s", log.String())
		}
		if logLine(&log, "level=INFO", `msg="upstream resumed"`, "upstream=default") == "" {
			t.Errorf("no line about the end of the pause:\n%s", log.String())
		}
	})
}

// TestLaneLogsThatItIsSlowed: the same of a lane that is slowed, whose state says so too.
func TestLaneLogsThatItIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engineBench(t)
		var log bytes.Buffer
		b.logged = &log
		var slow atomic.Bool
		slow.Store(true)
		b.refuse(diagnose.StageMail, sesThrottled, func(string, string) bool { return slow.Load() })
		stop := b.run(t)
		b.putMany(20)
		pass(5 * time.Second)
		st := b.lane.State()
		if !st.Slowed || st.Paused || st.Since.IsZero() || st.Diagnosis == nil ||
			st.Diagnosis.Reason != "throttled" || st.Reply != strings.TrimSpace(sesThrottled) ||
			st.Rate == 0 {
			t.Errorf("state %+v, want slowed and why", st)
		}
		slow.Store(false)
		for range 60 {
			b.putMany(20)
			pass(time.Second)
		}
		if st := b.lane.State(); st.Slowed || st.Diagnosis != nil || st.Rate != 0 {
			t.Errorf("state %+v a minute later, want at full speed", st)
		}
		stop()
		if logLine(&log, "level=WARN", `msg="upstream slowed"`, "reason=throttled", "fix=",
			`reply="454 Throttling`) == "" {
			t.Errorf("no line about the slowness:\n%s", log.String())
		}
		if logLine(&log, "level=INFO", `msg="upstream at full speed again"`, "upstream=default") == "" {
			t.Errorf("no line about its end:\n%s", log.String())
		}
	})
}
