package main

import (
	"strings"
	"testing"

	"mailwhy/relay/smtptest"
)

func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("skipping: it takes about ten seconds")
	}
	broken, err := run(quick(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// TestLedgerTells: what was not acknowledged may not arrive, and what was must, once.
func TestLedgerTells(t *testing.T) {
	for _, tt := range []struct {
		fate   fate
		copies int
		amiss  bool
	}{
		{cut, 0, false}, {cut, 1, true}, {refused, 0, false}, {refused, 1, true},
		{whole, 0, false}, {whole, 1, false}, {whole, 2, true}, {acked, 0, true}, {acked, 1, false}, {acked, 2, true},
	} {
		l := newLedger()
		first := l.open("m")
		l.note("m", tt.fate)
		for range tt.copies {
			l.deliver(&smtptest.Message{Content: []byte("Received: x\r\n" + first)})
		}
		if _, amiss := l.compare(); (len(amiss) > 0) != tt.amiss {
			t.Errorf("%+v: %q", tt, amiss)
		}
	}
	l := newLedger()
	l.deliver(&smtptest.Message{Content: []byte("Received: x\r\n\r\n")})
	if _, amiss := l.compare(); len(amiss) != 1 || !strings.Contains(amiss[0], "nobody sent it") {
		t.Errorf("%q", amiss)
	}
}
