package sqlite

// This makes the spools of earlier formats beside it; README.md says how. It is no part of this package's
// tests.

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// maker makes one spool.
type maker struct {
	t    *testing.T
	dir  string
	s    *Spool
	now  time.Time
	Want map[string]int `json:"want"` // sizes of the contents, by id; each repeats its id
	Told []string       `json:"told"` // messages whose notice a report has told
	Owed []string       `json:"owed"` // ... and whose notice is due still
}

func (m *maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *maker) open() {
	s, err := Open(Options{Dir: m.dir, Now: func() time.Time { return m.now }, Limits: Limits{Reserve: -1,
		InlineLimit: 4 << 10 /* JOURNAL */}})
	m.must(err)
	m.s = s
	m.lease() // looks into the database, as a lane that has nothing to do does
}

func (m *maker) message() *relay.Message {
	m.now = m.now.Add(time.Millisecond)
	return &relay.Message{
		ID: relay.NewID(m.now), Lane: "default", Arrived: m.now, Subject: "caf\xe9",
		Envelope: relay.Envelope{From: "app@sender.example"},
		Recipients: []relay.Recipient{
			{Address: "one@there.example", State: relay.Queued, NextAttempt: m.now},
			{Address: "two@there.example", State: relay.Queued, NextAttempt: m.now,
				ORCPT: "rfc822;two@there.example"},
		},
	}
}

func (m *maker) put(repeats int) string {
	msg := m.message()
	content := strings.Repeat(msg.ID, repeats)
	m.must(m.s.Put(context.Background(), msg, strings.NewReader(content)))
	m.Want[msg.ID] = len(content)
	return msg.ID
}

func (m *maker) lease() []relay.Lease {
	m.now = m.now.Add(time.Second)
	ls, _, err := m.s.Lease(context.Background(), relay.LeaseQuery{Lane: "default", Now: m.now, Max: 1,
		Until: m.now.Add(time.Hour)})
	m.must(err)
	return ls
}

// settle gives the recipients of the next message a state.
func (m *maker) settle(state relay.State) string {
	l := m.lease()[0]
	var notices []relay.Notice
	for i := range l.Message.Recipients {
		r := &l.Message.Recipients[i]
		r.State, r.NextAttempt = state, time.Time{}
		if state == relay.Deferred {
			r.NextAttempt = m.now.Add(time.Hour)
		}
		if state == relay.Failed {
			notices = append(notices,
				relay.Notice{Message: l.Message.ID, Recipient: i, Kind: relay.NoticeFailed,
					Due: m.now})
		}
	}
	m.must(m.s.Settle(context.Background(), l.Token, relay.Settlement{Recipients: l.Message.Recipients,
		Notices: notices}))
	if state == relay.Relayed {
		delete(m.Want, l.Message.ID)
	}
	return l.Message.ID
}

// report tells the due notices of one message.
func (m *maker) report() {
	due, _, err := m.s.DueNotices(context.Background(), m.now, 1 /* SKIP */)
	m.must(err)
	msg := m.message()
	msg.Report, msg.Envelope.From = true, ""
	content := strings.Repeat(msg.ID, 20)
	m.must(m.s.Report(context.Background(), due[0].Notices, msg, strings.NewReader(content)))
	m.Want[msg.ID] = len(content)
	id := due[0].Message.ID
	m.Told = append(m.Told, id)
	delete(m.Want, id)
	m.Owed = m.Owed[1:]
}

// life leaves messages in every state, the newest of them where new ones are kept.
func (m *maker) life() {
	for _, repeats := range []int{1, 50, 500, 3, 20} {
		m.put(repeats)
	}
	m.settle(relay.Relayed)
	m.settle(relay.Deferred)
	m.settle(relay.Held)
	m.Owed = append(m.Owed, m.settle(relay.Failed), m.settle(relay.Failed))
	m.put(700)
	for i := range 12 {
		m.put(5 + 12*i)
	}
	for range 4 {
		m.settle(relay.Relayed)
	}
	for len(m.lease()) > 0 { // the lane has caught up: what comes now goes to the journal, where there is one
	}
	m.report()
	for i := range 9 {
		m.put(2 + 10*i)
	}
	m.settle(relay.Relayed)
	m.settle(relay.Relayed)
	m.put(7)
	m.put(1)
}

// keep packs the spool as it stands.
func (m *maker) keep(name string) {
	b, err := json.MarshalIndent(m, "", "\t")
	m.must(err)
	m.must(os.WriteFile(filepath.Join(m.dir, "want.json"), b, 0o600))
	os.Remove(filepath.Join(m.dir, "spool.db-shm"))
	out, err := exec.Command("tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0",
		"--exclude=lock",
		"-czf", filepath.Join(os.Getenv("FORMATS"), name+".tar.gz"), "-C", m.dir, ".").CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v %s", err, out)
	}
}

// TestMakeFormat makes $FORMAT: killed, closed, or downgraded, in which case it goes on with the killed spool
// of another release.
func TestMakeFormat(t *testing.T) {
	m := &maker{t: t, dir: t.TempDir(), now: time.Unix(1764000000, 0), Want: map[string]int{}}
	name := os.Getenv("FORMAT")
	if from := os.Getenv("FROM"); from != "" {
		out, err := exec.Command("tar", "-xzf", from, "-C", m.dir).CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		b, err := os.ReadFile(filepath.Join(m.dir, "want.json"))
		m.must(err)
		m.must(json.Unmarshal(b, m))
		m.now = m.now.Add(time.Hour)
		m.open()
		m.put(4)
		m.put(6)
		m.must(m.s.Close())
		m.keep(name)
		return
	}
	m.open()
	m.life()
	if strings.HasSuffix(name, "killed") {
		m.keep(name)
		m.s.Close()
		return
	}
	m.must(m.s.Close())
	m.keep(name)
}
