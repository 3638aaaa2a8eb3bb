package relay

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
)

// TestLaneStateRounds: the rate is short for people and scripts, and exact for those who compute with it.
func TestLaneStateRounds(t *testing.T) {
	for _, tt := range []struct {
		rate float64
		json string
	}{
		{0.47951930477456123, `"rate":0.48`}, {12.3456789, `"rate":12.35`},
		{0.05, `"rate":0.05`}, {0.00027777, `"rate":0.00028`},
		{5000.001, `"rate":5000`},
	} {
		st := LaneState{Name: "default", Rate: tt.rate}
		b, err := json.Marshal(struct {
			Lanes []LaneState `json:"lanes"`
		}{[]LaneState{st}})
		if err != nil || !strings.Contains(string(b), tt.json+"}") {
			t.Errorf("%v: %s, %v; want %s", tt.rate, b, err, tt.json)
		}
		if st.Rate != tt.rate {
			t.Errorf("writing changed the rate to %v", st.Rate)
		}
		var back LaneState
		err = json.Unmarshal([]byte(`{"name":"x",`+tt.json+`}`), &back)
		if err != nil || back.Rate != RoundRate(tt.rate) {
			t.Errorf("read %+v, %v", back, err)
		}
	}
}

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
			"fix=", "cause=", `reply="454 Throttling failure: Daily message quota exceeded."`, "next_probe=") == "" {
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
			st.Diagnosis.Reason != "throttled" || st.Reply != strings.TrimSpace(sesThrottled) || st.Rate == 0 {
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
