package diagnose

import "testing"

func TestEngineLoads(t *testing.T) {
	if _, err := New(Options{}); err != nil {
		t.Fatal(err)
	}
}
