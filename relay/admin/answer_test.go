package admin

import (
	"io"
	"strings"
	"testing"
)

// TestAnswerIsBounded: a value that has no end is an error, however it came so far; many values are not.
func TestAnswerIsBounded(t *testing.T) {
	a := newAnswer(strings.NewReader(strings.Repeat(`{"error":"x"} `, 1000)))
	a.max = 2000
	for i := range 1000 {
		var p Problem
		if err := a.next(&p); err != nil || p.Error != "x" {
			t.Fatalf("value %d: %+v, %v", i, p, err)
		}
	}
	if err := a.next(new(Problem)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, begin := range []string{`"`, `{"error":"`, `{"id":"a"} ["`, ""} {
		a = newAnswer(io.MultiReader(strings.NewReader(begin), strings.NewReader(strings.Repeat(" ", 3<<20))))
		a.max = 1 << 20
		var err error
		for err == nil {
			err = a.next(new(any))
		}
		if !strings.Contains(err.Error(), "more than 1048576 bytes") {
			t.Errorf("%s without an end: %v", begin, err)
		}
	}
}
