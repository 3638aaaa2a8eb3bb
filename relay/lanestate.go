package relay

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
)

// LaneState is the state of a lane, for people and for the reporter. At most one of Paused and Slowed is set;
// Since, Diagnosis and Reply are then of that.
type LaneState struct {
	Name      string
	Paused    bool      // nothing is sent but probes
	Slowed    bool      // less is sent than the configuration allows, because the upstream asked for it
	Since     time.Time // of the pause, or of the slowness
	NextProbe time.Time // of a pause: when the upstream is probed again, or later if no mail is due
	Diagnosis *diagnose.Diagnosis
	Reply     string         // the upstream's words, or the error, that led to it; cut at 512 bytes
	Limit     int            // most connections now
	Rate      float64        // most messages a second now; 0 means no limit
	Senders   []SenderPaused // whose mail waits while other mail goes on, by name; none while Paused
}

// SenderPaused is a sender whose mail waits because of a limit of its own.
type SenderPaused struct {
	Sender    string              `json:"sender"` // "<>" is the null sender
	Since     time.Time           `json:"since"`
	NextProbe time.Time           `json:"next_probe"` // when one of its messages is offered again
	Diagnosis *diagnose.Diagnosis `json:"diagnosis,omitempty"`
}

// laneStateJSON is the JSON form of a LaneState.
type laneStateJSON struct {
	Name      string              `json:"name"`
	Paused    bool                `json:"paused"`
	Slowed    bool                `json:"slowed,omitempty"`
	Since     time.Time           `json:"since,omitzero"`
	NextProbe time.Time           `json:"next_probe,omitzero"`
	Diagnosis *diagnose.Diagnosis `json:"diagnosis,omitempty"`
	Reply     string              `json:"reply,omitempty"`
	Limit     int                 `json:"limit"`
	Rate      float64             `json:"rate,omitempty"`
	Senders   []SenderPaused      `json:"senders,omitempty"`
}

// MarshalJSON writes s for people and scripts: the rate as RoundRate has it.
func (s LaneState) MarshalJSON() ([]byte, error) {
	out := laneStateJSON(s)
	out.Rate = RoundRate(s.Rate)
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *LaneState) UnmarshalJSON(b []byte) error {
	var in laneStateJSON
	err := json.Unmarshal(b, &in)
	*s = LaneState(in)
	return err
}

// What a message waits for, beyond its own next attempt.
const (
	WaitsForUpstream = "upstream_paused" // the lane is paused
	WaitsForSender   = "sender_paused"   // its sender is
)

// NextTry is when a message from this envelope sender with its next attempt at due will really be tried, as
// far as is known now, and what it waits for until then: WaitsForUpstream, WaitsForSender, or "" if only for
// its own time.
func (s *LaneState) NextTry(from string, due time.Time) (next time.Time, waitsFor string) {
	if s.Paused {
		return later(due, s.NextProbe), WaitsForUpstream
	}
	for i := range s.Senders {
		if p := &s.Senders[i]; p.Sender == SenderName(from) {
			return later(due, p.NextProbe), WaitsForSender
		}
	}
	return due, ""
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// RoundRate rounds a rate for display: to hundredths, and below 1 to two significant digits.
func RoundRate(r float64) float64 {
	if r >= 1 {
		return math.Round(r*100) / 100
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(r, 'g', 2, 64), 64)
	return rounded
}

// SenderName is a reverse-path in the form in which it is compared and shown; "<>" is the null sender.
func SenderName(reversePath string) string {
	if reversePath == "" {
		return "<>"
	}
	return strings.ToLower(reversePath)
}

// Equal reports whether two states are equal.
func (s *LaneState) Equal(o *LaneState) bool {
	return s.Name == o.Name && s.Paused == o.Paused && s.Slowed == o.Slowed && s.Since.Equal(o.Since) &&
		s.NextProbe.Equal(o.NextProbe) && s.Diagnosis == o.Diagnosis && s.Reply == o.Reply &&
		s.Limit == o.Limit && s.Rate == o.Rate && slices.Equal(s.Senders, o.Senders)
}
