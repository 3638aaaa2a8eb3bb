package relay

import (
	"encoding/json"
	"strings"
	"testing"
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
