package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

// TestDirect runs every case straight into the sink.
func TestDirect(t *testing.T) {
	o, err := parseOptions(
		[]string{"-relays", "direct", "-scale", "0.001", "-rounds", "1", "-dir", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o.settle = 20 * time.Second
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range allCases() {
		c.size, c.sessions = min(c.size, 100<<10), min(c.sessions, 5)
		if c.refused {
			continue
		}
		m, err := o.measure(t.Context(), c, direct{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if m.rate <= 0 || m.p99 < m.p50 || m.p50 < c.roundTrip {
			t.Errorf("%s: %v", c.name, m)
		}
	}
	if left, _ := os.ReadDir(o.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// leaky is a relay that takes mail and passes none of it on.
type leaky struct{ server *smtptest.Server }

func (leaky) name() string { return "leaky" }

func (l leaky) start(context.Context, string, string, []string) (*running, error) {
	return &running{addr: l.server.Addr()}, nil
}

func TestLossIsNoticed(t *testing.T) {
	o, err := parseOptions([]string{"-scale", "0.001", "-settle", "50ms", "-dir", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = o.measure(t.Context(), allCases()[0],
		leaky{smtptest.New(t, smtptest.Options{})}); err == nil ||
		!strings.Contains(err.Error(), "2 recipients of 2 acknowledged messages have not arrived") {
		t.Errorf("got %v", err)
	}
}

func TestReport(t *testing.T) {
	rs := make(results)
	for _, rate := range []float64{300, 100, 200} {
		rs.add("4k-1", "postfix", measurement{rate: rate})
		rs.add("4k-1", "direct", measurement{rate: 5 * rate})
	}
	rs.add("4k-1", "direct", measurement{rate: 2000})
	rs.fsyncs("postfix", 1)
	var out bytes.Buffer
	rs.print(&out, allCases()[:2], []relay{direct{}, &postfix{}})
	wanted := []string{"| 1250  | 6.25 ", "| 200   | 1.00 ", "| 4      |", "postfix: 1.00 fsyncs"}
	for _, want := range wanted {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "| 4k-10 ") {
		t.Error("a case that was not run is reported")
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"-cases", "("}, {"-nonsense"}, {"-rounds", "x"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	o, err := parseOptions([]string{"-relays", "sendmail", "-dir", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), o); err == nil || !strings.Contains(err.Error(), `"sendmail"`) {
		t.Errorf("got %v", err)
	}
}
