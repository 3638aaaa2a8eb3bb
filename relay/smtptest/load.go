package smtptest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay/smtptest/ledger"
)

// Load offers messages to a server over several sessions at once, as fast as it takes them. A session that is
// lost is replaced, and its open message is not offered again: whether it arrived is for the Ledger to say.
type Load struct {
	Addr          string
	Sessions      int    // at the same time; 1 when 0
	Messages      int    // in all
	Size          int    // of each body, bytes; a header of some 250 comes on top
	PerConnection int    // messages a connection; 0 is all of them
	Pipelining    bool   // MAIL, RCPT and DATA in one write (RFC 2920)
	From, To      string // sender@load.test and recipient@sink.test when empty
	Ledger        *ledger.Ledger
	Timeout       time.Duration // for each reply, and for a server that cannot be reached; 60 seconds when 0
}

// LoadResult is what became of a Load.
type LoadResult struct {
	Acked   int           // answered with 2xx
	Refused int           // answered with 4xx or 5xx, at any stage
	Broken  int           // the connection was lost before the answer
	Elapsed time.Duration // from the first connection to the last answer
	Started time.Time
	Whole   Latency // from MAIL to the reply to the content, acknowledged messages only
	Content Latency // from the final dot to its reply, acknowledged messages only
}

// Latency is a set of durations.
type Latency struct{ sorted []time.Duration }

// Quantile is the duration that a share q of all, 0 to 1, does not exceed; 0 when there is none.
func (l Latency) Quantile(q float64) time.Duration {
	if len(l.sorted) == 0 {
		return 0
	}
	i := int(q * float64(len(l.sorted)))
	return l.sorted[min(max(i, 0), len(l.sorted)-1)]
}

// loader is one session's part of a Load.
type loader struct {
	load           *Load
	left           *atomic.Int64 // messages not yet begun
	body           []byte
	client         *Client
	result         LoadResult
	whole, content []time.Duration
}

// Run offers all messages, or as many as it can before ctx ends. The error is that of a server that could not
// be reached for the whole Timeout.
func (l Load) Run(ctx context.Context) (LoadResult, error) {
	l.defaults()
	var left atomic.Int64
	left.Store(int64(l.Messages))
	body := text(l.Size)
	loaders := make([]*loader, l.Sessions)
	errs := make([]error, l.Sessions)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range loaders {
		loaders[i] = &loader{load: &l, left: &left, body: body}
		wg.Go(func() { errs[i] = loaders[i].run(ctx) })
	}
	wg.Wait()
	sum := LoadResult{Elapsed: time.Since(start), Started: start}
	for _, o := range loaders {
		sum.Acked += o.result.Acked
		sum.Refused += o.result.Refused
		sum.Broken += o.result.Broken
		sum.Whole.sorted = append(sum.Whole.sorted, o.whole...)
		sum.Content.sorted = append(sum.Content.sorted, o.content...)
	}
	slices.Sort(sum.Whole.sorted)
	slices.Sort(sum.Content.sorted)
	return sum, errors.Join(errs...)
}

// defaults fills in what was left open.
func (l *Load) defaults() {
	l.Sessions = max(l.Sessions, 1)
	if l.From == "" {
		l.From = "sender@load.test"
	}
	if l.To == "" {
		l.To = "recipient@sink.test"
	}
	if l.Ledger == nil {
		l.Ledger = ledger.New()
	}
	if l.Timeout == 0 {
		l.Timeout = time.Minute
	}
}

// text is size bytes of lines that need no dot-stuffing, the last one ended.
func text(size int) []byte {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
	random := rand.New(rand.NewPCG(1, 2)) // the same in each run
	b := make([]byte, 0, size+2)
	for len(b) < size-2 {
		for range min(76, size-2-len(b)) {
			b = append(b, alphabet[random.IntN(len(alphabet))])
		}
		b = append(b, "\r\n"...)
	}
	return b
}

// run is one session after another until nothing is left.
func (o *loader) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { o.left.Store(0) })
	defer stop()
	for ctx.Err() == nil && o.left.Load() > 0 {
		if err := o.connect(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		o.session(ctx)
		o.client.Close()
	}
	return nil
}

// connect brings a connection up to MAIL, trying again until the Timeout.
func (o *loader) connect(ctx context.Context) error {
	var err error
	for deadline := time.Now().Add(o.load.Timeout); time.Now().Before(deadline) && ctx.Err() == nil; {
		if err = o.dial(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("no session with %s: %w", o.load.Addr, err)
}

// dial opens a connection and greets.
func (o *loader) dial(ctx context.Context) (err error) {
	o.client, err = Greet(
		ctx,
		o.load.Addr,
		"load.test",
		ClientOptions{Timeout: o.load.Timeout, Buffer: 64 << 10},
	)
	return err
}

// session offers messages until the connection's share is done or it is lost.
func (o *loader) session(ctx context.Context) {
	for n := 0; ctx.Err() == nil && (o.load.PerConnection == 0 || n < o.load.PerConnection); n++ {
		if o.left.Add(-1) < 0 {
			break
		}
		switch err := o.offer(); {
		case err == nil:
			o.result.Acked++
		case errors.Is(err, ErrRefused):
			o.result.Refused++
			if o.client.Command("RSET") != nil {
				return
			}
		default:
			o.result.Broken++
			return
		}
	}
	o.client.Command("QUIT")
}

// offer is one transaction.
func (o *loader) offer() error {
	l := o.load.Ledger
	offer := &Offer{ID: l.NewID(), From: o.load.From, To: []string{o.load.To}, Pipelined: o.load.Pipelining}
	start := time.Now()
	if err := o.client.Begin(l, offer); err != nil {
		return err
	}
	head := o.head(offer.ID)
	sum := l.Sum(head, o.body)
	o.client.Put(head)
	o.client.Put(o.body)
	dot := time.Now()
	if _, err := o.client.Finish(l, offer, sum); err != nil {
		return err
	}
	o.whole = append(o.whole, time.Since(start))
	o.content = append(o.content, time.Since(dot))
	return nil
}

// head is the header of a message, its empty line included.
func (o *loader) head(id string) []byte {
	return fmt.Appendf(
		nil,
		"%sFrom: <%s>\r\nTo: <%s>\r\nSubject: load\r\nDate: %s\r\nMessage-ID: <%s@load.test>\r\n\r\n",
		ledger.Header(id),
		o.load.From,
		o.load.To,
		time.Now().Format(time.RFC1123Z),
		id,
	)
}
