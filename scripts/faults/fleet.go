package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/relay/smtptest/postgrestest"
	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/traffic"
)

// needPostgres is Debian's PostgreSQL.
const needPostgres need = "PostgreSQL"

// tryPostgres sees whether a server can be started.
func tryPostgres(ctx context.Context) error {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if err := install(ctx, "initdb", "postgresql"); err != nil {
			found, _ = filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // not in PATH
			if len(found) == 0 {
				return err
			}
		}
	}
	s, err := postgrestest.Start(postgrestest.Options{NoSync: true})
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

// member is one relay of a fleet.
type member struct {
	name    string // its user at the sink
	setup   *relaySetup
	relay   *relayProcess // nil while it is dead
	client  *traffic.Client
	probes  string             // where it answers /readyz
	ways    [2]*smtptest.Proxy // to the two database servers
	stopped func()             // waits for its client's load
}

// fleet is several relays on one queue: PostgreSQL with a synchronous standby. Each relay has ways of its own
// to the database servers, so that it can be cut off from them alone. The sink tells them apart by their
// users.
type fleet struct {
	*scenario
	members          []*member
	primary, standby *postgrestest.Server
	offers           *traffic.Offers
	stopLoad         func()
}

// Times of a fleet in the quick form; the full form has the defaults.
const (
	quickHeartbeat = time.Second
	quickDead      = 6 * time.Second
	commitTimeout  = 3 * time.Second
	fleetDead      = 30 * time.Second
)

// dead is after what time a relay is taken for dead.
func (s *site) dead() time.Duration {
	if s.full {
		return fleetDead
	}
	return quickDead
}

// newFleet starts the servers and prepares n relays.
func newFleet(ctx context.Context, s *site, r *result, n int) *fleet {
	t := newScenario(s, r, "")
	f := &fleet{scenario: t, stopLoad: func() {}}
	var users []string
	for i := range n {
		users = append(users, fmt.Sprintf("relay%d", i))
	}
	t.sink.Close()
	k, err := traffic.StartSink(t.ledger, "", secret, users...)
	must(err, "starting the sink")
	s.later(func() { k.Release(); k.Close() })
	t.sink = k
	f.offers = traffic.NewOffers(r.note)
	k.Script = f.offers.See
	t.rules.Concurrency = n * concurrency
	t.rules.RefusedMay = true // a commit in doubt is a 451, and was made all the same

	f.primary, err = postgrestest.Start(postgrestest.Options{})
	must(err, "starting PostgreSQL")
	s.later(func() { f.primary.Close() })
	f.standby, err = f.primary.StartStandby()
	must(err, "starting the standby")
	s.later(func() { f.standby.Close() })
	_, err = f.primary.Exec(ctx, "create database mailwhy")
	must(err, "creating the database")

	for i, name := range users {
		m := &member{name: name, probes: s.freePort()}
		setup := *t.setup
		setup.dir, setup.listen = s.fresh(name), s.freePort()
		setup.spool = filepath.Join(setup.dir, "spool")
		setup.env = slices.Clone(setup.env)
		setup.upstream = "smtp://" + name + "@" + k.Addr() + "?tls=none"
		m.setup = &setup
		m.client = &traffic.Client{Ledger: t.ledger, Addr: setup.listen, Prefix: name + "m", Drops: true}
		f.members = append(f.members, m)
		f.ways(m)
		m.configure(s)
		if i == 0 {
			t.setup = m.setup
		} else {
			t.others = append(t.others, m.setup)
		}
		s.later(func() {
			if m.relay != nil {
				m.relay.Thaw()
				m.relay.kill()
			}
		})
	}
	return f
}

// ways makes a member's ways to the database servers.
func (f *fleet) ways(m *member) {
	for i, server := range []*postgrestest.Server{f.primary, f.standby} {
		p, err := smtptest.StartProxy(server.Addr())
		must(err, "starting a proxy")
		f.site.later(func() { p.Close() })
		m.ways[i] = p
	}
}

// configure writes the environment of a member's relay. The URL is read from a file.
func (m *member) configure(s *site) {
	url := "postgres://postgres@" + m.ways[0].Addr() + "," + m.ways[1].Addr() +
		"/mailwhy?sslmode=disable&connect_timeout=2&target_session_attrs=read-write\n"
	must(os.WriteFile(m.urlFile(), []byte(url), 0o600), "writing the URL of the database")
	m.setup.env = append(m.setup.env, "MAILWHY_SPOOL_ENGINE=postgres", "MAILWHY_SPOOL_URL_FILE="+m.urlFile(),
		"MAILWHY_SPOOL_COMMIT_TIMEOUT="+commitTimeout.String(),
		"MAILWHY_METRICS_LISTEN="+m.probes, "MAILWHY_HOSTNAME="+m.name+".load.test")
	if !s.full {
		m.setup.env = append(m.setup.env, "MAILWHY_CLUSTER_HEARTBEAT="+quickHeartbeat.String(),
			"MAILWHY_CLUSTER_DEAD_AFTER="+quickDead.String())
	}
}

func (m *member) urlFile() string { return filepath.Join(m.setup.dir, "url") }

// start starts a member's relay.
func (f *fleet) start(ctx context.Context, m *member) {
	p, err := m.setup.start(ctx)
	must(err, "starting "+m.name)
	m.relay = p
	f.slow = max(f.slow, p.ready)
}

// startAll starts all relays, and the load of their clients.
func (f *fleet) startAll(ctx context.Context, pause time.Duration) {
	for _, m := range f.members {
		f.start(ctx, m)
	}
	loading, stop := context.WithCancel(ctx)
	f.stopLoad = stop
	f.site.later(stop)
	for _, m := range f.members {
		m.stopped = m.client.Load(loading, 2, pause)
	}
}

// kill is kill -9 of a relay.
func (f *fleet) kill(m *member) {
	m.relay.kill()
	f.usage(m)
	m.relay = nil
	f.happened(m)
	f.kills++
}

// happened notes a fault after which what the members had under way may arrive twice.
func (f *fleet) happened(ms ...*member) {
	time.Sleep(200 * time.Millisecond) // what the sink has of a dead relay is over
	for _, m := range ms {
		f.offers.Forget(m.name)
	}
	must(f.ledger.Write(ledger.Record{What: ledger.Crashed}), "writing the ledger")
}

func (f *fleet) usage(m *member) {
	m.relay.unwatch()
	f.most[0] = max(f.most[0], m.relay.memory)
	f.most[1] = max(f.most[1], m.relay.files)
}

// failOver kills the primary and promotes the standby. It returns how long from then until mail was taken
// again. The new primary gets a standby of its own.
func (f *fleet) failOver(ctx context.Context) time.Duration {
	f.primary.Kill()
	must(f.standby.TakeOver(), "promoting the standby")
	promoted := time.Now()
	took := f.untilTaking(ctx, f.members[0], promoted)
	f.happened(f.members...)
	old := f.primary
	f.primary = f.standby
	standby, err := f.primary.StartStandby()
	must(err, "starting another standby")
	f.standby = standby
	f.site.later(standby.Close)
	old.Close()
	for _, m := range f.members { // the way to the old primary leads to the new standby now
		m.ways[0], m.ways[1] = m.ways[1], m.ways[0]
		m.ways[1].Redirect(standby.Addr())
		m.ways[1].End(smtptest.EndReset)
	}
	return took
}

// untilTaking is how long since begin it took until a member acknowledged a message.
func (f *fleet) untilTaking(ctx context.Context, m *member, begin time.Time) time.Duration {
	plain := &traffic.Client{Ledger: f.ledger, Addr: m.setup.listen, Mix: traffic.Mix{Plain: true},
		Prefix: fmt.Sprintf("w%dx", time.Now().UnixNano())}
	ok := f.until(ctx, time.Minute, func() bool { return plain.Offer(ctx, plain.NewMessage()) == nil })
	if !ok {
		f.result.fail("%s took no mail for a minute: %s", m.name, m.relay.Tail())
	}
	return time.Since(begin)
}

// finish ends the load and the relays, and holds the ledgers against each other.
func (f *fleet) finish(ctx context.Context, limit time.Duration) *ledger.Verdict {
	f.stopLoad()
	for _, m := range f.members {
		if m.stopped != nil {
			m.stopped()
		}
		if m.relay == nil {
			f.start(ctx, m)
		}
	}
	f.drain(ctx, limit)
	for _, m := range f.members {
		if took, err := m.relay.stop(); err != nil {
			f.result.fail("SIGTERM of %s: %v (after %v)", m.name, err, took.Round(time.Millisecond))
		}
		f.usage(m)
		m.relay = nil
	}
	if n := f.offers.Overlaps(); n > 0 {
		f.result.fail("%d messages were offered by two relays at one time", n)
	}
	return f.judge()
}

// ready reports whether a member says that it is ready.
func (m *member) ready() bool { return process.Answers("http://"+m.probes+"/readyz", 200) }

// live reports whether a member says that it lives.
func (m *member) live() bool { return process.Answers("http://"+m.probes+"/livez", 200) }

// ackedBy is how many messages of its client's load a member acknowledged so far.
func (f *fleet) ackedBy(m *member) (n int) {
	records, err := f.ledger.Records()
	must(err, "reading the ledgers")
	for i := range records {
		if records[i].What == ledger.Acked && strings.HasPrefix(records[i].ID, m.client.Prefix) {
			n++
		}
	}
	return n
}
