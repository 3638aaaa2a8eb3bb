package report

import (
	"slices"
	"strings"
	"time"

	"mailwhy/relay"
)

// noticePlan is what to do about a batch of due notices.
type noticePlan struct {
	jobs      []job
	claims    []relay.Token  // of the whole batch
	withdrawn []relay.Entry  // no longer true, or not readable: consumed without a report
	postponed []relay.Notice // with their new Due
	soonest   time.Time
}

// job is one report to make, or a digest.
type job struct {
	kind     relay.NoticeKind
	message  *relay.Message // of a digest: the first failure's
	notices  []relay.Notice
	failures []relay.DigestFailure // of a digest
	messages []*relay.Message      // of a digest: each notice's
}

// note remembers when a postponed notice will be due.
func (p *noticePlan) note(due time.Time) {
	if p.soonest.IsZero() || due.Before(p.soonest) {
		p.soonest = due
	}
}

// postpone makes n due later.
func (p *noticePlan) postpone(n relay.Notice, due time.Time) {
	n.Due = due
	p.postponed = append(p.postponed, n)
	p.note(due)
}

// plan sorts a batch of due notices into reports, digests, postponed and withdrawn ones.
func (r *Reporter) plan(now time.Time, policy StormPolicy, due []relay.Claim) *noticePlan {
	p := &noticePlan{}
	digests := map[stormKey]*job{}
	for i := range due {
		p.claims = append(p.claims, due[i].Token)
		r.planMessage(p, now, policy, &due[i], digests)
	}
	for _, key := range sortedKeys(digests) {
		p.addDigest(digests[key])
	}
	r.storm.sweep(now, policy)
	return p
}

// planMessage sorts the notices of one message.
func (r *Reporter) planMessage(p *noticePlan, now time.Time, policy StormPolicy, c *relay.Claim,
	digests map[stormKey]*job) {
	m := c.Message
	byKind := map[relay.NoticeKind][]relay.Notice{}
	operators := map[operatorReport][]relay.Notice{}
	for _, e := range c.Entries {
		n, err := relay.NoticeOf(e)
		switch {
		case err != nil:
			r.o.Log.Error("a notice cannot be read; no report is made of it", "id", m.ID, "err", err)
			p.withdrawn = append(p.withdrawn, e)
		case !stillOwed(m, n):
			p.withdrawn = append(p.withdrawn, e)
		case n.Kind == relay.NoticeOperator:
			key := operatorReport{n.To, m.Recipients[n.Recipient].State.Final()}
			operators[key] = append(operators[key], n)
		case n.Digest && n.Due.After(now):
			p.note(n.Due) // it was read along with other notices of its message
		case n.Digest:
			gather(digests, stormKeyOf(m, n), m, n)
		case n.Kind == relay.NoticeDelayed && r.o.Paused(m.Lane):
			p.postpone(n, now.Add(postponeFor))
		case n.Kind == relay.NoticeFailed && policy.on():
			if until, fold := r.storm.fold(stormKeyOf(m, n), policy, now); fold {
				n.Digest = true
				p.postpone(n, until)
				continue
			}
			fallthrough
		default:
			byKind[n.Kind] = append(byKind[n.Kind], n)
		}
	}
	for _, kind := range []relay.NoticeKind{relay.NoticeFailed, relay.NoticeDelayed, relay.NoticeRelayed} {
		p.addReports(kind, m, byKind[kind])
	}
	for _, ns := range operators {
		p.addReports(relay.NoticeOperator, m, ns)
	}
}

// operatorReport is what the recipients of a report to an operator have in common.
type operatorReport struct {
	to    string
	final bool
}

// addReports plans the DSNs of one kind about one message. One is enough but for very many recipients.
func (p *noticePlan) addReports(kind relay.NoticeKind, m *relay.Message, ns []relay.Notice) {
	slices.SortFunc(ns, func(a, b relay.Notice) int { return a.Recipient - b.Recipient })
	for len(ns) > 0 {
		n := fitsOne(m, ns)
		p.jobs = append(p.jobs, job{kind: kind, message: m, notices: ns[:n:n]})
		ns = ns[n:]
	}
}

// fitsOne is how many of the notices fit into one DSN.
func fitsOne(m *relay.Message, ns []relay.Notice) int {
	groups := map[relay.SameFailure]bool{}
	for i, n := range ns {
		groups[relay.SameFailureOf(&m.Recipients[n.Recipient])] = true
		if i == recipientMax || len(groups) > groupMax {
			return i
		}
	}
	return len(ns)
}

// addDigest plans a digest, or several where one would be too long; a single failure gets its ordinary DSN.
func (p *noticePlan) addDigest(d *job) {
	for len(d.notices) > 0 {
		n := min(len(d.notices), digestMax)
		part := job{
			kind:     d.kind,
			message:  d.messages[0],
			notices:  d.notices[:n],
			failures: d.failures[:n],
			messages: d.messages[:n],
		}
		d.notices, d.failures, d.messages = d.notices[n:], d.failures[n:], d.messages[n:]
		if n == 1 {
			part.failures = nil
		}
		p.jobs = append(p.jobs, part)
	}
}

// gather adds a failure to its digest.
func gather(digests map[stormKey]*job, key stormKey, m *relay.Message, n relay.Notice) {
	d := digests[key]
	if d == nil {
		d = &job{kind: relay.NoticeFailed, message: m}
		digests[key] = d
	}
	d.notices = append(d.notices, n)
	d.messages = append(d.messages, m)
	d.failures = append(d.failures, digestFailure(m, &m.Recipients[n.Recipient]))
}

// digestFailure is what a digest says about one recipient.
func digestFailure(m *relay.Message, rc *relay.Recipient) relay.DigestFailure {
	f := relay.DigestFailure{
		ID:        m.ID,
		MessageID: m.MessageID,
		Recipient: rc.Address,
		Time:      m.Arrived,
		Expired:   rc.State == relay.Expired,
	}
	if rc.Last != nil {
		f.Time, f.Reply, f.NetErr = rc.Last.Time, rc.Last.Reply, rc.Last.NetErr
	}
	return f
}

// stillOwed reports whether n is still true: since it was recorded the recipient may have been settled, or
// put back into the queue by the operator.
func stillOwed(m *relay.Message, n relay.Notice) bool {
	if m.Report || n.Recipient < 0 || n.Recipient >= len(m.Recipients) {
		return false
	}
	if n.Kind == relay.NoticeOperator {
		return true // it happened, whatever became of the recipient since
	}
	if m.Envelope.From == "" {
		return false
	}
	state := m.Recipients[n.Recipient].State
	switch n.Kind {
	case relay.NoticeFailed:
		return state.Final() && state != relay.Relayed
	case relay.NoticeDelayed:
		return state == relay.Queued || state == relay.Deferred
	case relay.NoticeRelayed:
		return state == relay.Relayed
	}
	return false
}

// sortedKeys gives the digests a fixed order.
func sortedKeys(digests map[stormKey]*job) []stormKey {
	keys := make([]stormKey, 0, len(digests))
	for k := range digests {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b stormKey) int {
		return strings.Compare(a.to+"\x00"+a.category+"\x00"+a.reason, b.to+"\x00"+b.category+"\x00"+b.reason)
	})
	return keys
}
