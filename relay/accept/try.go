package accept

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"mailwhy/relay"
)

// Try is how an Inbox offers mail to its upstream while the session that brought it waits. The functions are
// safe for concurrent use.
type Try struct {
	// Spool holds the mail meanwhile.
	Spool relay.Stager
	// Offer hands a message to the lane of its upstream, which then calls Settle or Release. It reports false
	// when the lane does not take it, at the latest when ctx ends.
	Offer func(ctx context.Context, lane string, o *Offer) bool
	// For is how long a session waits at most, looked up for each mail.
	For func() time.Duration
	// Hurry is closed when sessions should come to their end.
	Hurry <-chan struct{}
}

// leaseFor is for how long a message is leased that comes into the spool while it is being offered. Its lane
// prolongs that.
const leaseFor = 15 * time.Minute

// Try accepts m as Accept does, but has it offered to its upstream first. It returns the recipients as the
// attempt left them; nil when the session did not hear of its end, and m is in the spool. Where all
// recipients failed nothing is stored, and nobody but the caller is told. each says that the caller tells of
// each recipient by itself: then no bounce is owed for those that failed.
//
// Archives do not count: their messages are stored when m is, or was relayed, and they never were where all
// failed.
//
// What is not offered: mail for several lanes, reports, mail with the null sender, mail whose sender asked to
// be told of success, mail with other recipients than the client gave, what the lane cannot offer at once,
// and mail with an archive while the spool has no room for that.
func (in *Inbox) Try(ctx context.Context, m *relay.Message, content io.Reader,
	each bool) ([]relay.Recipient, error) {
	given := len(m.Recipients)
	parts, err := in.parts(m, true)
	if err != nil {
		return nil, err
	}
	isCopy := func(p part) bool { return p.message.Recipients[0].Archive }
	if len(parts) > 1 && !isCopy(parts[1]) || len(m.Recipients) != given || !canWait(m) ||
		len(parts) > 1 && !in.hasRoom() {
		return nil, in.store(ctx, parts, content)
	}
	staged, err := in.Trying.Spool.Stage(ctx, m, content)
	if err != nil {
		return nil, err
	}
	in.Taken(m.Lane, len(m.Recipients))
	defer staged.Discard()
	o := &Offer{in: in, part: parts[0], copies: parts[1:], staged: staged, began: in.Now(), each: each,
		stored: make(chan struct{}), over: make(chan struct{})}
	return o.run(ctx)
}

// canWait reports whether the session may hear what the upstream says of a mail.
func canWait(m *relay.Message) bool {
	return m.Envelope.From != "" && !m.Report && !m.StatusReport &&
		!slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool {
			return r.Notify.OwesSuccess() || len(r.Given) > 0
		})
}

// hasRoom reports whether the spool takes mail.
func (in *Inbox) hasRoom() bool {
	a, ok := in.Spool.(relay.Admitter)
	return !ok || a.Admit() == nil
}

// Offer is a mail that its upstream is offered while its session waits. It is the session's until that has
// waited long enough. Then the session puts it into the spool, leased, and the end of the attempt is settled
// there. So what the upstream says has its effect once, whenever it comes.
type Offer struct {
	in     *Inbox
	part   part
	copies []part // the archives'
	staged relay.Staged
	began  time.Time     // when the mail was whole: no event of its attempt is earlier
	each   bool          // see Inbox.Try
	stored chan struct{} // closed when the session has put it, or could not
	over   chan struct{} // closed when what follows stands

	after []relay.Recipient // as the attempt left them; nil if there was none
	err   error             // of storing that

	mu       sync.Mutex
	state    state
	token    relay.Token // of the lease; "" if the spool does not have it
	released bool        // it was not offered
}

// state is where an Offer stands.
type state int

const (
	waiting state = iota // the session waits for the attempt to end
	putting              // the session is putting it into the spool
	leased               // the spool has it
	ended                // the attempt ended while the session waited
)

// enter makes to the state if the session waits, and reports whether it did.
func (o *Offer) enter(to state) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != waiting {
		return false
	}
	o.state = to
	return true
}

// run is the session's part: it waits, and if that takes too long puts the mail into the spool.
func (o *Offer) run(ctx context.Context) ([]relay.Recipient, error) {
	try, m := o.in.Trying, o.part.message
	wait, cancel := context.WithTimeout(ctx, try.For())
	defer cancel()
	if !try.Offer(wait, m.Lane, o) {
		return nil, o.put(ctx)
	}
	select {
	case <-o.over:
	case <-wait.Done():
	case <-try.Hurry:
	}
	if o.enter(putting) && o.handOver(ctx) {
		return nil, nil
	}
	<-o.over // an attempt under way is never given up: it would be made twice
	if o.after == nil {
		return nil, o.put(ctx)
	}
	return o.after, o.err
}

// put stores a mail that was not offered.
func (o *Offer) put(ctx context.Context) error {
	m := o.part.message
	if _, err := o.keep(ctx, relay.Settlement{Recipients: m.Recipients}, 0); err != nil {
		return err
	}
	o.accepted(m.Recipients)
	o.in.Wake(m.Lane)
	return nil
}

// keep puts the mail into the spool as s has it, and those of the archives.
func (o *Offer) keep(ctx context.Context, s relay.Settlement, leaseFor time.Duration) (relay.Token, error) {
	m := o.part.message
	with := make([]*relay.Message, len(o.copies))
	for i, c := range o.copies {
		with[i] = c.message
		with[i].Changed, with[i].Size = m.Changed, m.Size
	}
	token, err := o.staged.Put(ctx, s, leaseFor, with...)
	if err == nil {
		for _, c := range o.copies {
			o.in.Taken(c.message.Lane, len(c.routes))
		}
		o.in.wake(o.copies)
	}
	return token, err
}

// handOver puts the mail into the spool while it is being offered, and reports whether that has it now. If
// not, the session goes on waiting, however long.
func (o *Offer) handOver(ctx context.Context) bool {
	m := o.part.message
	token, err := o.keep(ctx, relay.Settlement{Recipients: m.Recipients}, leaseFor)
	if err == nil {
		o.accepted(m.Recipients)
	}
	o.mu.Lock()
	released := o.released
	if o.state = waiting; err == nil {
		o.state, o.token = leased, token
	}
	o.mu.Unlock()
	close(o.stored)
	if released {
		o.giveBack(token)
	}
	return err == nil
}

// giveBack ends the lease of a mail that was not offered, or lets the session know.
func (o *Offer) giveBack(token relay.Token) error {
	if token == "" {
		close(o.over)
		return nil
	}
	defer o.in.Wake(o.part.message.Lane)
	if r, ok := o.in.Spool.(relay.Releaser); ok {
		return r.Release(token)
	}
	return o.in.Spool.Settle(context.Background(), token,
		relay.Settlement{Recipients: o.part.message.Recipients})
}

// Message implements lane.Offer.
func (o *Offer) Message() *relay.Message { return o.part.message }

// Content implements lane.Offer.
func (o *Offer) Content() (io.ReadCloser, error) { return o.staged.Content() }

// Extend implements lane.Offer.
func (o *Offer) Extend(ctx context.Context, d time.Duration) error {
	if token := o.lease(); token != "" {
		return o.in.Spool.Extend(ctx, token, d)
	}
	return nil
}

// lease is the token of the lease; "" if the spool does not have the mail.
func (o *Offer) lease() relay.Token {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.token
}

// Settle implements lane.Offer.
func (o *Offer) Settle(ctx context.Context, s relay.Settlement) error {
	if !o.enter(ended) {
		<-o.stored
		if token := o.lease(); token != "" {
			return o.in.Spool.Settle(ctx, token, s)
		}
	}
	o.after, o.err = s.Recipients, o.conclude(ctx, s)
	close(o.over)
	return o.err
}

// Release implements lane.Offer.
func (o *Offer) Release() error {
	o.mu.Lock()
	o.released = true
	was, token := o.state, o.token
	if was == waiting {
		o.state = ended
	}
	o.mu.Unlock()
	if was == putting {
		return nil // the session does it as soon as it has put the mail
	}
	return o.giveBack(token)
}

// conclude stores what is left to do for a mail whose attempt has ended while the session waits: recipients
// to be tried again, bounces, and copies for archives. Where all failed the session tells it, and nothing is
// left but what an operator is to be told.
func (o *Offer) conclude(ctx context.Context, s relay.Settlement) error {
	isFailed := func(r relay.Recipient) bool { return failed(&r) }
	isOpen := func(r relay.Recipient) bool { return !r.State.Final() }
	if !slices.ContainsFunc(s.Recipients, func(r relay.Recipient) bool { return !isFailed(r) }) {
		return o.tellOperator(ctx, s)
	}
	if o.each {
		s.Owed = withoutFailures(s.Owed)
	}
	if len(s.Owed) > 0 || len(o.copies) > 0 || slices.ContainsFunc(s.Recipients, isOpen) {
		if _, err := o.keep(ctx, s, 0); err != nil {
			return err
		}
		defer o.in.Wake(cmp.Or(s.Lane, o.part.message.Lane))
	}
	o.accepted(s.Recipients)
	return nil
}

// tellOperator stores the notices to operators that are owed for a mail that failed for all recipients.
func (o *Offer) tellOperator(ctx context.Context, s relay.Settlement) error {
	if s.Owed = withoutFailures(s.Owed); len(s.Owed) == 0 {
		return nil
	}
	_, err := o.staged.Put(ctx, s, 0)
	return err
}

// failed reports whether nothing more is done for a recipient, and it did not get the mail.
func failed(r *relay.Recipient) bool { return r.State.Final() && r.State != relay.Relayed }

// withoutFailures are the entries but the notices of failures.
func withoutFailures(entries []relay.Entry) []relay.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e relay.Entry) bool {
		n, err := relay.NoticeOf(e)
		return e.Topic == relay.TopicReport && err == nil && n.Kind == relay.NoticeFailed
	})
}

// accepted records that the mail was accepted, but for the recipients of which the session is told otherwise.
// Who sorts events by their time has it before what the attempt led to.
func (o *Offer) accepted(recipients []relay.Recipient) {
	o.in.recordAccepted(o.part, o.began, func(i int) bool { return o.each && failed(&recipients[i]) })
	o.in.accepted(o.copies, o.part.message, o.began)
}
