package smtptest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load offers messages to a server over several sessions at once, as fast as it takes them. A session that is lost is
// replaced, and its open message is not offered again: whether it was taken is the Ledger's question.
type Load struct {
	Addr          string
	Sessions      int    // at the same time; 1 when 0
	Messages      int    // in all
	Size          int    // of each body, bytes; a header of some 250 comes on top
	PerConnection int    // messages a connection; 0 is all of them
	Pipelining    bool   // MAIL, RCPT and DATA in one write (RFC 2920)
	From, To      string // sender@load.test and recipient@sink.test when empty
	Ledger        *Ledger
	Timeout       time.Duration // for each reply, and for a server that cannot be reached; 60 seconds when 0
}

// LoadResult is what became of a Load.
type LoadResult struct {
	Acked   int           // answered with 2yz
	Refused int           // answered with 4yz or 5yz, at any stage
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
	conn           net.Conn
	r              *bufio.Reader
	w              *bufio.Writer
	result         LoadResult
	whole, content []time.Duration
}

// errRefused is a reply of 4yz or 5yz; the connection can go on.
var errRefused = errors.New("refused")

// Run offers all messages, or as many as it can before ctx ends. The error is that of a server that could not be
// reached for the whole Timeout.
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
		l.Ledger = NewLedger()
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
		o.conn.Close()
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
func (o *loader) dial(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: o.load.Timeout}).DialContext(ctx, "tcp", o.load.Addr)
	if err != nil {
		return err
	}
	o.conn, o.r, o.w = conn, bufio.NewReader(conn), bufio.NewWriterSize(conn, 64<<10)
	if err = o.expect(2); err == nil {
		o.w.WriteString("EHLO load.test\r\n")
		err = o.expect(2)
	}
	if err != nil {
		conn.Close()
	}
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
		case errors.Is(err, errRefused):
			o.result.Refused++
			o.w.WriteString("RSET\r\n")
			if o.expect(2) != nil {
				return
			}
		default:
			o.result.Broken++
			return
		}
	}
	o.w.WriteString("QUIT\r\n")
	o.expect(2)
}

// offer is one transaction.
func (o *loader) offer() error {
	l := o.load.Ledger
	id := l.issue()
	start := time.Now()
	if err := o.envelope(); err != nil {
		return err
	}
	head := o.head(id)
	tail := head[bytes.Index(head, l.mark):]
	var sum maphash.Hash
	sum.SetSeed(l.seed)
	sum.Write(tail)
	sum.Write(o.body)
	l.offered(id, sum.Sum64())
	o.w.Write(head)
	o.w.Write(o.body)
	o.w.WriteString(".\r\n")
	dot := time.Now()
	code, err := o.reply()
	if err != nil {
		return err
	}
	l.answered(id, code)
	if code/100 != 2 {
		return errRefused
	}
	o.whole = append(o.whole, time.Since(start))
	o.content = append(o.content, time.Since(dot))
	return nil
}

// envelope is everything up to the 354.
func (o *loader) envelope() error {
	fmt.Fprintf(o.w, "MAIL FROM:<%s>\r\n", o.load.From)
	if !o.load.Pipelining {
		if err := o.expect(2); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.w, "RCPT TO:<%s>\r\n", o.load.To)
	if !o.load.Pipelining {
		if err := o.expect(2); err != nil {
			return err
		}
	}
	o.w.WriteString("DATA\r\n")
	if !o.load.Pipelining {
		return o.expect(3)
	}
	return errors.Join(o.expect(2), o.expect(2), o.expect(3))
}

// head is the header of a message, its empty line included.
func (o *loader) head(id int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: load\r\nDate: %s\r\nMessage-ID: <%d.%s@load.test>\r\n",
		o.load.From, o.load.To, time.Now().Format(time.RFC1123Z), id, strings.TrimSuffix(string(o.load.Ledger.mark[11:]), "-"))
	b.Write(o.load.Ledger.header(id))
	b.WriteString("\r\n")
	return b.Bytes()
}

// expect reads a reply of the given class.
func (o *loader) expect(class int) error {
	code, err := o.reply()
	if err == nil && code/100 != class {
		err = errRefused
	}
	return err
}

// reply flushes, reads one reply and returns its code.
func (o *loader) reply() (int, error) {
	if o.r.Buffered() == 0 {
		o.conn.SetDeadline(time.Now().Add(o.load.Timeout))
		if err := o.w.Flush(); err != nil {
			return 0, err
		}
	}
	for {
		line, err := o.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) < 4 || line[3] == '-' {
			continue
		}
		return int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0'), nil
	}
}
