package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/scripts/faults/traffic"
)

// fleetSize is how many relays a fleet has.
const fleetSize = 3

// fleetPause is what each session of a fleet's clients waits between two messages. In the full form what a
// dead relay had is locked for half a minute, and there must be room to catch up on a small machine.
func (s *site) fleetPause() time.Duration {
	return time.Duration(s.pick(5, 60)) * time.Millisecond
}

// acceptsWithin is the longest that mail may be refused after a promotion, on a busy machine.
const acceptsWithin = 15 * time.Second

// testPrimary kills the primary again and again under load.
func testPrimary(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	var worst, sum time.Duration
	rounds := s.pick(3, 50)
	for range rounds {
		if ctx.Err() != nil {
			return
		}
		traffic.Sleep(ctx, between(time.Second, 3*time.Second))
		took := f.failOver(ctx)
		worst, sum = max(worst, took), sum+took
		r.ran(1)
	}
	if worst > acceptsWithin {
		r.fail("mail was refused for %v after a promotion", worst)
	}
	v := f.finish(ctx, 2*f.site.dead()+time.Minute)
	r.note("mail was taken again %v after the promotion on average, %v at worst; %d refused meanwhile; %s",
		(sum / time.Duration(rounds)).Round(10*time.Millisecond), worst.Round(10*time.Millisecond), v.Refused,
		f.usageNote())
}

// testReplica kills relays and starts them again: at once, or when others have taken over what they had.
func testReplica(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	for i := range s.pick(6, 50) {
		if ctx.Err() != nil {
			return
		}
		traffic.Sleep(ctx, between(200*time.Millisecond, 2*time.Second))
		m := f.members[rand.IntN(len(f.members))]
		f.kill(m)
		r.ran(1)
		if i%5 == 0 {
			f.takenOver(ctx, m)
		}
		f.start(ctx, m)
	}
	f.finish(ctx, 2*s.dead()+time.Minute)
}

// takenOver waits until what a dead relay had acknowledged is accounted for: the others must have taken it
// over soon after the time from which it is taken for dead.
func (f *fleet) takenOver(ctx context.Context, m *member) {
	left := f.ledger.Waiting()
	began := time.Now()
	limit := f.site.dead() + f.site.dead()/3 + 10*time.Second
	if !f.until(ctx, limit, func() bool { return f.ledger.Unsettled(left) == 0 }) {
		f.result.fail("%d recipients of mail that %s had were not taken over within %v",
			f.ledger.Unsettled(left), m.name, limit)
	}
	f.result.note("what waited when %s died, %d recipients, was done with %v later", m.name, len(left),
		time.Since(began).Round(100*time.Millisecond))
}

// testFrozen freezes a relay in the middle of its attempts, for so long that the others take over its mail,
// and wakes it: it then settles nothing that others have, and goes on as a new member.
func testFrozen(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	for range s.pick(1, 3) {
		m := f.members[0]
		f.offers.Delay(300 * time.Millisecond) // so that it has attempts under way
		traffic.Sleep(ctx, 2*time.Second)
		must(m.relay.Freeze(), "freezing a relay")
		f.offers.Delay(0)
		traffic.Sleep(ctx, 2*time.Second) // the sink answers what it had read
		f.happened(m)
		traffic.Sleep(ctx, 2*s.dead())
		f.happened(m) // what it has under way may arrive again
		m.relay.Thaw()
		r.ran(1)
		f.untilTaking(ctx, m, time.Now())
	}
	f.finish(ctx, 2*s.dead()+time.Minute)
}

// testCutOff takes the database away from one relay alone: it must answer 451, begin nothing once two thirds
// of the time are over after which it is taken for dead, and come back by itself.
func testCutOff(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	traffic.Sleep(ctx, 2*time.Second)
	for range s.pick(1, 3) {
		m := f.members[1]
		stall := smtptest.Faults{Cut: &smtptest.Cut{End: smtptest.EndStall}}
		for _, p := range m.ways {
			p.Damage(stall, stall)
			p.End(smtptest.EndReset)
		}
		cut := time.Now()
		f.refusesSoon(ctx, m)
		f.outOfReach(ctx, m, cut)
		traffic.Sleep(ctx, time.Until(cut.Add(s.dead()*2/3+2*time.Second)))
		idle := time.Now()
		traffic.Sleep(ctx, s.dead())
		if n := f.offers.Begun(m.name, idle, time.Now()); n > 0 {
			r.fail("%s began %d transactions though its place was over", m.name, n)
		}
		for _, p := range m.ways {
			p.Damage(smtptest.Faults{}, smtptest.Faults{})
			p.End(smtptest.EndReset)
		}
		f.happened(m)
		back := f.untilTaking(ctx, m, time.Now())
		r.ran(1)
		r.note("cut off for %v; mail was taken again after %v", time.Since(cut).Round(time.Second),
			back.Round(100*time.Millisecond))
	}
	f.finish(ctx, 2*s.dead()+time.Minute)
}

// outOfReach waits until a relay that was cut off begins nothing more, and enters that as a fault before
// others can take over: what it has offered and cannot settle they offer again.
func (f *fleet) outOfReach(ctx context.Context, m *member, cut time.Time) {
	traffic.Sleep(ctx, time.Until(cut.Add(f.site.dead()*2/3+500*time.Millisecond)))
	f.happened(m)
}

// refusesSoon sees that a relay without a database refuses mail for now, and not only when the client has
// lost its patience; that it is not ready; and that it lives.
func (f *fleet) refusesSoon(ctx context.Context, m *member) {
	plain := &traffic.Client{Ledger: f.ledger, Addr: m.setup.listen, Mix: traffic.Mix{Plain: true},
		Prefix: "n" + m.name + "x"}
	var said error
	began := time.Now()
	if !f.until(ctx, commitTimeout+10*time.Second, func() bool {
		began = time.Now()
		said = plain.Offer(ctx, plain.NewMessage())
		return said != nil && strings.Contains(said.Error(), "451 4.3.0") && time.Since(began) < time.Second
	}) {
		f.result.fail("%s without a database does not refuse at once with 451 4.3.0: %v after %v", m.name,
			said, time.Since(began))
	}
	if !f.until(ctx, 10*time.Second, func() bool { return !m.ready() }) {
		f.result.fail("%s without a database says that it is ready", m.name)
	}
	if !m.live() {
		f.result.fail("%s without a database says that it does not live", m.name)
	}
}

// testStandby freezes the standby: no commit can end then. A hasty administrator cancels those that wait;
// then the primary dies, and the standby takes over with what it has. Nothing may have been acknowledged
// that it does not have.
func testStandby(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	for range s.pick(2, 10) {
		if ctx.Err() != nil {
			return
		}
		traffic.Sleep(ctx, 2*time.Second)
		f.standby.Freeze()
		for range 5 {
			traffic.Sleep(ctx, 500*time.Millisecond)
			_, err := f.primary.Exec(ctx, "select count(pg_cancel_backend(pid)) from pg_stat_activity"+
				" where wait_event = 'SyncRep'")
			must(err, "cancelling commits")
		}
		acked := f.ledger.Acked()
		traffic.Sleep(ctx, time.Second)
		if n := f.ledger.Acked() - acked; n > 0 {
			r.fail("%d messages were acknowledged while the standby was frozen", n)
		}
		f.primary.Kill()
		f.standby.Thaw()
		f.failOver(ctx)
		r.ran(1)
	}
	f.finish(ctx, 2*s.dead()+time.Minute)
}

// testOldPrimary has the old primary come back after its standby was promoted, and one relay that can see
// no other server: that relay must take no mail.
func testOldPrimary(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	traffic.Sleep(ctx, 2*time.Second)
	f.primary.Kill()
	must(f.standby.TakeOver(), "promoting the standby")
	f.happened(f.members...)
	m := f.members[2]
	stall := smtptest.Faults{Cut: &smtptest.Cut{End: smtptest.EndStall}}
	m.ways[1].Damage(stall, stall)
	m.ways[1].End(smtptest.EndReset)
	cut := time.Now()
	must(f.primary.Start(), "starting the old primary")
	f.outOfReach(ctx, m, cut)
	traffic.Sleep(ctx, time.Until(cut.Add(s.dead())))
	acked := f.ackedBy(m)
	traffic.Sleep(ctx, s.dead())
	if n := f.ackedBy(m) - acked; n > 0 {
		r.fail("%s took %d messages on the old primary", m.name, n)
	}
	f.primary.Kill()
	m.ways[1].Damage(smtptest.Faults{}, smtptest.Faults{})
	m.ways[1].End(smtptest.EndReset)
	f.untilTaking(ctx, m, time.Now())
	r.ran(1)
	f.finish(ctx, 2*s.dead()+time.Minute)
}

// testAway takes the database away from all relays: mail is refused for now, at once; no attempt begins
// after a while, and everything goes on when it is back.
func testAway(ctx context.Context, s *site, r *result) {
	f := newFleet(ctx, s, r, fleetSize)
	f.startAll(ctx, s.fleetPause())
	traffic.Sleep(ctx, 2*time.Second)
	f.offers.Delay(time.Second) // so that attempts are under way
	traffic.Sleep(ctx, 2*time.Second)
	f.primary.Stop()
	began := time.Now()
	f.offers.Delay(0)
	for _, m := range f.members {
		f.refusesSoon(ctx, m)
	}
	away := 2 * s.dead()
	if s.full {
		away = 10 * time.Minute
	}
	traffic.Sleep(ctx, s.dead())
	idle := time.Now()
	traffic.Sleep(ctx, time.Until(began.Add(away)))
	for _, m := range f.members {
		if n := f.offers.Begun(m.name, idle, time.Now()); n > 0 {
			r.fail("%s began %d transactions without a database", m.name, n)
		}
	}
	must(f.primary.Start(), "starting PostgreSQL again")
	back := time.Now()
	for _, m := range f.members {
		f.untilTaking(ctx, m, back)
	}
	r.ran(1)
	r.note("away for %v, everyone takes mail again %v after the start", time.Since(began).Round(time.Second),
		time.Since(back).Round(100*time.Millisecond))
	f.finish(ctx, 2*s.dead()+time.Minute)
}
