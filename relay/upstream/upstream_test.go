package upstream

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// outcome is a transaction with what Relay said of it.
type outcome struct {
	t *relay.Transaction
	r relay.Result
}

// message makes a transaction for the recipients, which are addresses.
func message(content string, rcpts ...string) *relay.Transaction {
	m := &relay.Message{ID: "TEST", Size: int64(len(content)), Envelope: relay.Envelope{From: "from@a.test"}}
	t := &relay.Transaction{Message: m, From: "from@a.test"}
	for i, r := range rcpts {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: r})
		t.Recipients = append(t.Recipients, i)
	}
	t.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	return t
}

// send relays the transactions with one call of Relay each time the pool stops asking, as a lane does.
func send(tb testing.TB, p *Pool, ts ...*relay.Transaction) []outcome {
	tb.Helper()
	return sendContext(tb.Context(), p, ts...)
}

func sendContext(ctx context.Context, p *Pool, ts ...*relay.Transaction) []outcome {
	var out []outcome
	next := func() (t *relay.Transaction) {
		if len(ts) > 0 {
			t, ts = ts[0], ts[1:]
		}
		return t
	}
	for len(ts) > 0 {
		p.Relay(ctx, next(), next,
			func(t *relay.Transaction, r relay.Result) { out = append(out, outcome{t, r}) })
	}
	return out
}

// testOptions are complete, with times that no test reaches unless it sets its own.
func testOptions(host string, port int) Options {
	return Options{
		Name: "test", Host: host, Port: port, Hello: "client.test",
		MaxMessages: 100, MaxIdle: time.Minute, MaxAge: 15 * time.Minute, RcptMax: 100,
		Grace: 8 * time.Second,
		Timeouts: Timeouts{
			Connect: 30 * time.Second, Greeting: 30 * time.Second, Command: 5 * time.Minute,
			Data: 2 * time.Minute, Write: 3 * time.Minute, EndOfData: 10 * time.Minute,
		},
	}
}

// newPool makes a Pool for a server's address, closed when the test ends.
func newPool(tb testing.TB, addr string, change func(*Options)) *Pool {
	tb.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	o := testOptions(host, 0)
	o.Port, _ = strconv.Atoi(port)
	if change != nil {
		change(&o)
	}
	if o.TLS.MinVersion == 0 {
		o.TLS.MinVersion = tls.VersionTLS12
	}
	p, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// attempts are those of a result, which must have them.
func attempts(tb testing.TB, o outcome) []relay.Attempt {
	tb.Helper()
	if o.r.Err != nil || o.r.Fault != nil {
		tb.Fatalf("no attempts: err %v, fault %+v", o.r.Err, o.r.Fault)
	}
	if len(o.r.Attempts) != len(o.t.Recipients) {
		tb.Fatalf("%d attempts for %d recipients", len(o.r.Attempts), len(o.t.Recipients))
	}
	return o.r.Attempts
}

const content = "Subject: x\r\n\r\n.dot\r\nline\r\n..\r\n"
