package suppress

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

const day = 24 * time.Hour

// world is a list with a clock and an engine of its own.
type world struct {
	t      *testing.T
	path   string
	set    Settings
	fold   bool
	log    lockedBuffer
	list   *List
	engine *diagnose.Engine

	mu     sync.Mutex
	now    time.Time
	events []relay.Event
	counts []string
	ids    int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, path: filepath.Join(t.TempDir(), "suppressions.db"), engine: engine, fold: true,
		now: time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC),
		set: Settings{Mode: Enforce, TTL: []time.Duration{7 * day, 30 * day, 180 * day}, Most: 1000,
			Breaker: Breaker{Share: 0.5, Least: 20}},
	}
	w.open()
	t.Cleanup(func() { w.list.Close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.list, err = Open(Options{
		Path: w.path, Settings: w.settings, FoldCase: w.fold,
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: w.clock,
		Record: func(e relay.Event) { w.mu.Lock(); w.events = append(w.events, e); w.mu.Unlock() },
		Counted: func(m Mode, c Counted) {
			w.mu.Lock()
			w.counts = append(w.counts, fmt.Sprint(m, " ", c.Reason, " ", c.Taken))
			w.mu.Unlock()
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reopen() {
	w.t.Helper()
	if err := w.list.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// settings are those of now.
func (w *world) settings() Settings { w.mu.Lock(); defer w.mu.Unlock(); return w.set }

// alter changes them.
func (w *world) alter(do func(*Settings)) { w.mu.Lock(); defer w.mu.Unlock(); do(&w.set) }

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) wait(d time.Duration) { w.mu.Lock(); w.now = w.now.Add(d); w.mu.Unlock() }

// flush waits until what was recorded is stored.
func (w *world) flush() {
	w.t.Helper()
	if err := w.list.w.write(w.t.Context(), func(*tx) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// event is an event about an address, of a new message, with the engine's diagnosis of the reply.
func (w *world) event(k relay.EventKind, to, reply string, stage diagnose.Stage) relay.Event {
	w.ids++
	e := relay.Event{Time: w.clock(), Kind: k, ID: fmt.Sprintf("ID%d", w.ids), From: "app@shop.example",
		To: to, Lane: "default"}
	e.Tried = &relay.Attempt{Time: e.Time, Stage: stage, Reply: diagnose.ParseReply(reply)}
	if reply != "" && e.Tried.Reply.Class() != 2 {
		d := w.engine.Diagnose(diagnose.Symptom{Stage: stage, Reply: e.Tried.Reply,
			Facts: diagnose.Facts{Recipient: to, EnvelopeFrom: "shop.example"}})
		e.Diagnosis = &d
	}
	return e
}

// does records what became of a mail, and waits until it is stored.
func (w *world) does(k relay.EventKind, to, reply string) {
	w.t.Helper()
	w.list.Record(w.event(k, to, reply, diagnose.StageRcpt))
	w.flush()
}

// tells records what a provider or a bounce mail told.
func (w *world) tells(k relay.EventKind, to, reply string, trust relay.Trust) {
	w.t.Helper()
	e := w.event(k, to, reply, diagnose.StageRemote)
	e.Feedback = &relay.Feedback{Source: "webhook", Trust: trust}
	w.list.Record(e)
	w.flush()
}

// is is how mail to an address is treated: "", single, or suppressed.
func (w *world) is(to string) string {
	c := w.list.Check("app@shop.example", to, w.clock())
	switch {
	case c.Entry != nil:
		return "suppressed"
	case c.Single:
		return "single"
	}
	return ""
}

// of is the one entry of an address; nil if there is none.
func (w *world) of(to string) (found *relay.Suppression) {
	w.t.Helper()
	err := w.list.List(w.t.Context(), relay.SuppressionFilter{Address: to}, func(s *relay.Suppression) bool {
		found = s
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// told are the states of the suppression events of an address.
func (w *world) told(to string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var states []string
	for _, e := range w.events {
		if e.To == to {
			states = append(states, e.State)
		}
	}
	return strings.Join(states, " ")
}

const (
	unknown  = "550 5.1.1 <jane@dead.example>: Recipient address rejected: User unknown\r\n"
	inactive = "550 5.2.1 The email account that you tried to reach is disabled\r\n"
	noDomain = "550 5.1.2 Host or domain name not found\r\n"
	full     = "552 5.2.2 Mailbox full\r\n"
	accepted = "250 2.0.0 Ok\r\n"
)

// TestHistory: what a history of a mailbox leads to.
func TestHistory(t *testing.T) {
	type step = func(*world)
	const to = "jane@dead.example"
	fail := func(reply string) step { return func(w *world) { w.does(relay.EventFailed, to, reply) } }
	bounce := func(reply string) step {
		return func(w *world) { w.tells(relay.EventBounced, to, reply, relay.TrustProven) }
	}
	order := func(d time.Duration) step {
		return func(w *world) {
			e := w.event(relay.EventFailed, to, full, diagnose.StageRcpt)
			e.Policy, e.SuppressFor = "full", d
			w.list.Record(e)
			w.flush()
		}
	}
	complaint := func(w *world) { w.tells(relay.EventComplained, to, "", relay.TrustProven) }
	sent := func(w *world) { w.does(relay.EventRelayed, to, accepted) }
	arrived := func(w *world) { w.tells(relay.EventDelivered, to, "", relay.TrustProven) }
	after := func(d time.Duration) step { return func(w *world) { w.wait(d) } }
	mode := func(m Mode) step {
		return func(w *world) { w.alter(func(s *Settings) { s.Mode = m }) }
	}
	complaintsEnd := func(w *world) { w.alter(func(s *Settings) { s.ComplaintTTL = 3 * day }) }
	for _, c := range []struct {
		name  string
		steps []step
		want  string // suppressed, and for how many days; 0 is for ever
		told  string
	}{
		{"nobody there", []step{fail(unknown)}, "suppressed 7", "created"},
		{"nobody there, told later", []step{bounce(unknown)}, "suppressed 7", "created"},
		{"disabled once", []step{fail(inactive)}, "single", ""},
		{"disabled twice on a day", []step{fail(inactive), after(time.Hour), fail(inactive)}, "single", ""},
		{"disabled on two days", []step{fail(inactive), after(day), fail(inactive)}, "suppressed 7",
			"created"},
		{"disabled on two days, far apart", []step{fail(inactive), after(40 * day),
			func(w *world) { w.list.w.write(t.Context(), (*tx).tidy) }, fail(inactive)}, "single", ""},
		{"disabled, then taken", []step{fail(inactive), after(day), sent, after(day), fail(inactive)},
			"single", "removed"},
		{"no such domain on two days", []step{fail(noDomain), after(day), fail(noDomain)}, "suppressed 7",
			"created"},
		{"full on three days", []step{fail(full), after(day), fail(full), after(day), fail(full)}, "", ""},
		{"its time is over", []step{fail(unknown), after(7 * day)}, "single", "created"},
		{"again after its time", []step{fail(unknown), after(7 * day), fail(unknown)}, "suppressed 30",
			"created renewed"},
		{"a third time", []step{fail(unknown), after(7 * day), fail(unknown), after(30 * day),
			fail(unknown)}, "suppressed 180", "created renewed renewed"},
		{"a fourth time", []step{fail(unknown), after(7 * day), fail(unknown), after(30 * day),
			fail(unknown), after(180 * day), fail(unknown)}, "suppressed 180",
			"created renewed renewed renewed"},
		{"again while suppressed", []step{fail(unknown), after(day), fail(unknown)}, "suppressed 6",
			"created"},
		{"taken after its time", []step{fail(unknown), after(7 * day), sent}, "", "created removed"},
		{"taken, then nobody there", []step{fail(unknown), after(7 * day), sent, fail(unknown)},
			"suppressed 7", "created removed created"},
		{"told later, then relayed: a bounce may follow", []step{bounce(unknown), after(7 * day), sent}, "",
			"created"},
		{"and follows", []step{bounce(unknown), after(7 * day), sent, after(time.Hour), bounce(unknown)},
			"suppressed 30", "created renewed"},
		{"and does not", []step{bounce(unknown), after(7 * day), sent, after(8 * day),
			func(w *world) { w.list.w.write(t.Context(), (*tx).tidy) }, bounce(unknown)}, "suppressed 7",
			"created created"},
		{"told later, then delivered", []step{bounce(unknown), after(7 * day), sent, arrived}, "",
			"created removed"},
		{"by a policy", []step{order(3 * day)}, "suppressed 3", "created"},
		{"by a policy, then relayed", []step{order(3 * day), sent}, "suppressed 3", "created"},
		{"by a policy, longer than before", []step{fail(unknown), order(20 * day)}, "suppressed 20",
			"created"},
		{"by a policy, shorter than before", []step{fail(unknown), order(day)}, "suppressed 7", "created"},
		{"a complaint", []step{complaint}, "suppressed 0", "created"},
		{"a complaint, then relayed", []step{complaint, sent, arrived}, "suppressed 0", "created"},
		{"a complaint of one who is gone", []step{fail(unknown), complaint}, "suppressed 0",
			"created created"},
		{"a complaint that is to end", []step{complaintsEnd, complaint},
			"suppressed 3", "created"},
		{"a likely report", []step{func(w *world) {
			w.tells(relay.EventBounced, to, unknown, relay.TrustLikely)
			w.tells(relay.EventComplained, to, "", relay.TrustWeak)
		}}, "single", ""},
		{"off", []step{mode(Off), fail(unknown), complaint,
			mode(Enforce)}, "single", ""},
		{"observed, then enforced", []step{mode(Observe), fail(unknown),
			mode(Enforce)}, "suppressed 7", "created"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			for _, s := range c.steps {
				s(w)
			}
			check := func(when string) {
				t.Helper()
				got := w.is(to)
				if got == "suppressed" {
					days := 0
					if s := w.of(to); !s.Expires.IsZero() {
						days = int(s.Expires.Sub(w.clock()) / day)
					}
					got = fmt.Sprint(got, " ", days)
				}
				if got != c.want {
					t.Errorf("%s: %q, want %q: %+v", when, got, c.want, w.of(to))
				}
			}
			check("at once")
			if got := w.told(to); got != c.told {
				t.Errorf("told %q, want %q", got, c.told)
			}
			w.reopen()
			if c.want != "" {
				check("after a restart")
			}
		})
	}
}

// TestSameMessage: one message counts once, however often its failure is told.
func TestSameMessage(t *testing.T) {
	w := newWorld(t)
	e := w.event(relay.EventFailed, "a@dead.example", inactive, diagnose.StageRcpt)
	w.list.Record(e)
	w.wait(day)
	e.Time = w.clock()
	w.list.Record(e)
	w.flush()
	if s := w.of("a@dead.example"); s == nil || s.State != relay.SuppressionNoted || s.Hits != 1 {
		t.Errorf("entry %+v", s)
	}
}

// TestEntry: an entry has all that is known, and the reply byte for byte.
func TestEntry(t *testing.T) {
	w := newWorld(t)
	reply := "550-5.1.1 no such user \xff\r\n550 5.1.1 really\r\n"
	e := w.event(relay.EventFailed, "Jane@DEAD.example", reply, diagnose.StageRcpt)
	w.list.Record(e)
	w.flush()
	w.reopen()
	s := w.of("jane@dead.example")
	if s == nil {
		t.Fatal("no entry")
	}
	want := relay.Suppression{
		Address: "Jane@dead.example", Scope: "*", State: relay.SuppressionActive, Reason: "user_unknown",
		Source: "session", FirstSeen: e.Time, LastSeen: e.Time, Hits: 1, Reply: reply, Message: e.ID,
		Upstream: "default", Rule: e.Diagnosis.Rule, Confidence: diagnose.High, Step: 1,
		Expires: e.Time.Add(7 * day),
	}
	got := *s
	got.Number = 0
	got.FirstSeen, got.LastSeen, got.Expires = s.FirstSeen.UTC(), s.LastSeen.UTC(), s.Expires.UTC()
	if got != want {
		t.Errorf("entry\n%+v, want\n%+v", got, want)
	}
}

// TestKeys: which addresses are the same.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		listed, asked string
		fold          bool
		same          bool
	}{
		{"jane@dead.example", "jane@DEAD.Example", false, true},
		{"jane@dead.example", "Jane@dead.example", false, false},
		{"Jane@dead.example", "jANE@dead.example", true, true},
		{"jane+news@dead.example", "jane@dead.example", true, false},
		{"jane-x@dead.example", "jane@dead.example", true, false},
		{"j.ane@dead.example", "jane@dead.example", true, false},
		{"jane@bücher.example", "jane@xn--bcher-kva.example", false, true},
		{"jane@BÜCHER.example", "jane@bücher.example", false, true},
		{"jürgen@dead.example", "ju\u0308rgen@dead.example", false, true},
		{"JÜRGEN@dead.example", "jürgen@dead.example", true, true},
		{`"a b"@dead.example`, `"A b"@dead.example`, true, true},
		{`"a b"@dead.example`, `"a  b"@dead.example`, true, false},
		{`"a@x"@dead.example`, `"a@x"@DEAD.example`, false, true},
		{"jane@[192.0.2.1]", "jane@[192.0.2.1]", true, true},
	} {
		w := newWorld(t)
		w.list.Close()
		w.fold = c.fold
		w.open()
		w.does(relay.EventFailed, c.listed, unknown)
		if got := w.is(c.asked) == "suppressed"; got != c.same {
			t.Errorf("%s is %s: %v, folded %v", c.asked, c.listed, got, c.fold)
		}
	}
}

// TestScope: a failure counts for all senders, or for those of the domain; bounces pass.
func TestScope(t *testing.T) {
	for _, perSender := range []bool{false, true} {
		w := newWorld(t)
		w.alter(func(s *Settings) { s.PerSender = perSender })
		w.does(relay.EventFailed, "a@dead.example", unknown)
		for sender, want := range map[string]bool{
			"app@shop.example": true, "other@SHOP.example": true, "app@other.example": !perSender, "": false,
		} {
			if got := w.list.Check(sender, "a@dead.example", w.clock()).Entry != nil; got != want {
				t.Errorf("by sender domain %v: mail of <%s> is suppressed: %v", perSender, sender, got)
			}
		}
	}
}

// TestObserve: nothing is suppressed, and each message that would have been is told of, also that its address
// would have been suppressed in error.
func TestObserve(t *testing.T) {
	w := newWorld(t)
	w.alter(func(s *Settings) { s.Mode = Observe })
	w.does(relay.EventFailed, "a@dead.example", unknown)
	w.does(relay.EventFailed, "a@dead.example", unknown)
	w.does(relay.EventRelayed, "a@dead.example", accepted)
	w.does(relay.EventRelayed, "a@dead.example", accepted)
	if got := w.is("a@dead.example"); got != "" {
		t.Errorf("mail is %s", got)
	}
	want := "observe user_unknown false; observe user_unknown true"
	if got := strings.Join(w.counts, "; "); got != want {
		t.Errorf("counted %q, want %q", got, want)
	}
	if got := w.told("a@dead.example"); got != "created observed observed removed" {
		t.Errorf("told %q", got)
	}
}

// TestInForceAtOnce: what was recorded holds for the next check, before it is stored.
func TestInForceAtOnce(t *testing.T) {
	w := newWorld(t)
	hold := make(chan struct{})
	go w.list.w.write(t.Context(), func(*tx) error { <-hold; return nil })
	w.list.Record(w.event(relay.EventFailed, "a@dead.example", unknown, diagnose.StageRcpt))
	c := w.list.Check("app@shop.example", "a@dead.example", w.clock())
	close(hold)
	if c.Entry == nil || !strings.Contains(c.Entry.Why(), "User unknown") {
		t.Errorf("check %+v", c)
	}
	w.flush()
}

// TestSingle: an address that has not answered gets one message at a time, until it has.
func TestSingle(t *testing.T) {
	for _, c := range []struct {
		kind  relay.EventKind
		reply string
		want  string
	}{
		{relay.EventRelayed, accepted, ""},
		{relay.EventDeferred, "450 4.2.0 greylisted\r\n", ""},
		{relay.EventFailed, full, ""},
		{relay.EventFailed, unknown, "suppressed"},
		{relay.EventAccepted, "", "single"},
	} {
		w := newWorld(t)
		w.does(c.kind, "a@dead.example", c.reply)
		if got := w.is("a@dead.example"); got != c.want {
			t.Errorf("after %s %q: %q, want %q", c.kind, c.reply, got, c.want)
		}
	}
}

// TestDamage: a list whose file is damaged, foreign or of a later release lets mail pass and says so; when
// the file is moved away it is begun anew.
func TestDamage(t *testing.T) {
	for name, spoil := range map[string]func(w *world) error{
		"not a database": func(w *world) error {
			return os.WriteFile(w.path, bytes.Repeat([]byte("not a database "), 600), 0o600)
		},
		"half of it gone": func(w *world) error { return os.Truncate(w.path, 4096) },
		"zeros": func(w *world) error {
			b, err := os.ReadFile(w.path)
			if err == nil {
				clear(b[4096:])
				err = os.WriteFile(w.path, b, 0o600)
			}
			return err
		},
		"a directory": func(w *world) error {
			return errors.Join(os.Remove(w.path), os.Mkdir(w.path, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i := range 100 {
				w.list.Record(w.event(relay.EventFailed, fmt.Sprintf("a%d@dead.example", i), unknown,
					diagnose.StageRcpt))
			}
			w.alter(func(s *Settings) { s.Breaker.Share = 2 })
			w.flush()
			if err := w.list.Close(); err != nil {
				t.Fatal(err)
			}
			if err := spoil(w); err != nil {
				t.Fatal(err)
			}
			w.open()
			if got := w.is("a1@dead.example"); got == "suppressed" {
				t.Errorf("mail is %s", got)
			}
			w.list.Record(w.event(relay.EventFailed, "b@dead.example", unknown, diagnose.StageRcpt))
			if _, err := w.list.Remove(t.Context(), "a@dead.example", ""); err == nil {
				t.Error("the operator's change is said to be stored")
			}
			if w.list.State().Fault == nil || !strings.Contains(w.log.String(), "cannot be used") {
				t.Errorf("no fault: %v\n%s", w.list.State().Fault, &w.log)
			}
			if err := os.Rename(w.path, w.path+".old"); err != nil {
				t.Fatal(err)
			}
			os.Remove(w.path + "-wal")
			os.Remove(w.path + "-shm")
			w.flush() // opens it anew
			w.flush() // with what waited
			if w.list.State().Fault != nil {
				t.Errorf("fault %v", w.list.State().Fault)
			}
			if got := w.of("b@dead.example"); got == nil {
				t.Error("what was learned meanwhile is lost")
			}
		})
	}
}

// TestInUse: two processes cannot have one list.
func TestInUse(t *testing.T) {
	w := newWorld(t)
	o := w.list.o
	if _, err := Open(o); !errors.Is(err, ErrInUse) {
		t.Errorf("error %v, want ErrInUse", err)
	}
}

// TestBound: a list that is too long loses what matters least first.
func TestBound(t *testing.T) {
	w := newWorld(t)
	w.alter(func(s *Settings) { s.Breaker.Share = 2 })
	w.does(relay.EventFailed, "old@dead.example", unknown)
	w.wait(8 * day)
	w.does(relay.EventFailed, "noted@dead.example", inactive)
	for i := range 10 {
		w.does(relay.EventFailed, fmt.Sprintf("a%d@dead.example", i), unknown)
		w.wait(time.Second)
	}
	w.tells(relay.EventComplained, "angry@dead.example", "", relay.TrustProven)
	for _, c := range []struct {
		most int
		gone string
	}{{13, ""}, {12, "noted"}, {11, "old"}, {10, "a0"}, {8, "a1 a2"}, {1, "a3 a4 a5 a6 a7 a8 a9"}} {
		w.alter(func(s *Settings) { s.Most = c.most })
		if err := w.list.w.write(t.Context(), (*tx).tidy); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(c.gone) {
			if w.of(name+"@dead.example") != nil {
				t.Errorf("at most %d: %s is there", c.most, name)
			}
		}
		st := w.list.State()
		n := st.Noted
		for _, m := range st.Entries {
			n += m
		}
		if n != int64(c.most) {
			t.Errorf("at most %d: %d counted", c.most, n)
		}
	}
	if w.of("angry@dead.example") == nil {
		t.Error("the complaint is gone")
	}
}
