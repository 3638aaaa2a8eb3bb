package accept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// trial is a world in which mail is tried: a spool, a lane, and what they were asked.
type trial struct {
	relay.Spool
	inbox  *Inbox
	hurry  chan struct{}
	refuse bool          // the lane takes nothing
	lane   func(*Offer)  // what it does with a mail that it has taken
	put    func() error  // the spool's answer; nil: it stores
	slow   time.Duration // how long it takes to store
	admit  error         // the spool's answer before a mail is there

	mu     sync.Mutex
	steps  []string
	stored []relay.Recipient
	owed   []relay.Entry
	events []relay.Event
}

func newTrial() *trial {
	w := &trial{hurry: make(chan struct{}), lane: func(*Offer) {}}
	w.inbox = &Inbox{
		Spool: w,
		Ways: &Ways{Route: func(m *relay.Message, i int) Route {
			_, domain, _ := strings.Cut(m.Recipients[i].Address, "@")
			return Route{Upstreams: []string{"lane of " + domain}}
		}},
		Taken: func(string, int) {},
		Wake:  func(string) { w.step("wake") },
		Record: recorderFunc(func(e relay.Event) {
			w.step("%s %s", e.Kind, e.To)
			w.events = append(w.events, e)
		}),
		Now: time.Now,
		Trying: &Try{Spool: w, Hurry: w.hurry, For: func() time.Duration { return 10 * time.Second },
			Offer: func(_ context.Context, _ string, o *Offer) bool {
				if !w.refuse {
					go w.lane(o)
				}
				return !w.refuse
			}},
	}
	return w
}

func (w *trial) step(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

func (w *trial) Stage(_ context.Context, m *relay.Message, content io.Reader) (relay.Staged, error) {
	b, err := io.ReadAll(content)
	m.Size = int64(len(b))
	return &stagedMail{w, string(b)}, err
}

type stagedMail struct {
	w       *trial
	content string
}

func (s *stagedMail) Content() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(s.content)), nil
}

func (s *stagedMail) Put(_ context.Context, set relay.Settlement, d time.Duration,
	with ...*relay.Message) (relay.Token, error) {
	time.Sleep(s.w.slow)
	if s.w.put != nil {
		if err := s.w.put(); err != nil {
			s.w.step("not put")
			return "", err
		}
	}
	s.w.stored, s.w.owed = slices.Clone(set.Recipients), set.Owed
	for _, m := range with {
		s.w.step("copy %s %s", m.Recipients[0].Address, m.Changed)
	}
	if d == 0 {
		s.w.step("put")
		return "", nil
	}
	s.w.step("put leased")
	return "token", nil
}

func (s *stagedMail) Discard() { s.w.step("discard") }

func (w *trial) Put(_ context.Context, ms []*relay.Message, content io.Reader) error {
	w.step("put %d at once", len(ms))
	_, err := io.ReadAll(content)
	return err
}

func (w *trial) Settle(_ context.Context, t relay.Token, s relay.Settlement) error {
	w.stored, w.owed = s.Recipients, s.Owed
	w.step("settle %s", t)
	return nil
}

func (w *trial) Release(t relay.Token) error { w.step("release %s", t); return nil }

func (w *trial) Extend(_ context.Context, t relay.Token, _ time.Duration) error {
	w.step("extend %s", t)
	return nil
}

func (w *trial) Admit() error { return w.admit }

// outcome is a settlement of a and b.
func outcome(m *relay.Message, states ...relay.State) relay.Settlement {
	s := relay.Settlement{Recipients: slices.Clone(m.Recipients)}
	for i, state := range states {
		s.Recipients[i].State = state
		if state == relay.Failed {
			n := relay.Notice{Message: m.ID, Recipient: i, Kind: relay.NoticeFailed}
			s.Owed = append(s.Owed, n.Entry())
		}
	}
	return s
}

// settles makes the lane settle with these states after d.
func settles(d time.Duration, states ...relay.State) func(*Offer) {
	return func(o *Offer) {
		time.Sleep(d)
		o.Settle(context.Background(), outcome(o.Message(), states...))
	}
}

const (
	relayed  = relay.Relayed
	deferred = relay.Deferred
	failedSt = relay.Failed
)

// TestTryOutcomes: what is stored, recorded and told of each outcome.
func TestTryOutcomes(t *testing.T) {
	accepted := []string{"accepted a@example.net", "accepted b@example.net"}
	around := func(before string, after ...string) []string {
		return slices.Concat([]string{before}, accepted, after)
	}
	for _, tc := range []struct {
		name   string
		world  func(*trial)
		each   bool
		told   []relay.State // nil: that it is in the spool
		steps  []string
		owed   int
		failed bool
	}{
		{"all relayed", func(w *trial) { w.lane = settles(0, relayed, relayed) }, false,
			[]relay.State{relayed, relayed}, accepted, 0, false},
		{"all failed", func(w *trial) { w.lane = settles(0, failedSt, failedSt) }, false,
			[]relay.State{failedSt, failedSt}, nil, 0, false},
		{"one deferred", func(w *trial) { w.lane = settles(0, relayed, deferred) }, false,
			[]relay.State{relayed, deferred}, around("put", "wake"), 0, false},
		{"one failed", func(w *trial) { w.lane = settles(0, relayed, failedSt) }, false,
			[]relay.State{relayed, failedSt}, around("put", "wake"), 1, false},
		{"one failed, each told", func(w *trial) { w.lane = settles(0, relayed, failedSt) }, true,
			[]relay.State{relayed, failedSt}, accepted[:1], 0, false},
		{"failed and deferred, each told", func(w *trial) { w.lane = settles(0, failedSt, deferred) }, true,
			[]relay.State{failedSt, deferred}, []string{"put", accepted[1], "wake"}, 0, false},
		{"not taken by the lane", func(w *trial) { w.refuse = true }, false,
			nil, around("put", "wake"), 0, false},
		{"given back", func(w *trial) { w.lane = func(o *Offer) { o.Release() } }, false,
			nil, around("put", "wake"), 0, false},
		{"slow, then relayed", func(w *trial) { w.lane = settles(time.Minute, relayed, relayed) }, false,
			nil, around("put leased", "settle token"), 0, false},
		{"slow, then failed", func(w *trial) { w.lane = settles(time.Minute, failedSt, relayed) }, true,
			nil, around("put leased", "settle token"), 1, false},
		{"slow, then given back",
			func(w *trial) { w.lane = func(o *Offer) { time.Sleep(time.Minute); o.Release() } }, false,
			nil, around("put leased", "release token", "wake"), 0, false},
		{"ends while it is put", func(w *trial) {
			w.slow, w.lane = 2*time.Second, settles(11*time.Second, relayed, relayed)
		}, false, nil, around("put leased", "settle token"), 0, false},
		{"given back while it is put", func(w *trial) {
			w.slow, w.lane = 2*time.Second, func(o *Offer) { time.Sleep(11 * time.Second); o.Release() }
		}, false, nil, around("put leased", "release token", "wake"), 0, false},
		{"hurried", func(w *trial) {
			w.lane = func(o *Offer) {
				close(w.hurry)
				settles(5*time.Second, relayed, relayed)(o)
			}
		}, false, nil, around("put leased", "settle token"), 0, false},
		{"spool full, relayed", func(w *trial) {
			w.put, w.lane = full, settles(time.Minute, relayed, relayed)
		}, false, []relay.State{relayed, relayed}, around("not put"), 0, false},
		{"spool full, deferred", func(w *trial) {
			w.put, w.lane = full, settles(0, relayed, deferred)
		}, false, []relay.State{relayed, deferred}, []string{"not put"}, 0, true},
		{"spool full, given back late", func(w *trial) {
			w.put, w.lane = full, func(o *Offer) { time.Sleep(time.Minute); o.Release() }
		}, false, nil, []string{"not put", "not put"}, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTrial()
				tc.world(w)
				m, began := newMessage(), time.Now()
				after, err := w.inbox.Try(t.Context(), m, strings.NewReader("x"), tc.each)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if (err != nil) != tc.failed {
					t.Errorf("error %v", err)
				}
				var told []relay.State
				for i := range after {
					told = append(told, after[i].State)
				}
				if !reflect.DeepEqual(told, tc.told) {
					t.Errorf("told %v, want %v", told, tc.told)
				}
				steps := slices.DeleteFunc(w.steps, func(s string) bool { return s == "discard" })
				if !slices.Equal(steps, tc.steps) {
					t.Errorf("steps %q, want %q", steps, tc.steps)
				}
				if len(w.owed) != tc.owed {
					t.Errorf("%d entries are owed, want %d", len(w.owed), tc.owed)
				}
				if len(w.events) > 0 && !w.events[0].First {
					t.Error("the first accepted event does not count the message")
				}
				for _, e := range w.events {
					if !e.Time.Equal(began) {
						t.Errorf("%s of %s, when the attempt may have ended", e.Kind, e.Time.Sub(began))
					}
				}
			})
		})
	}
}

func full() error { return relay.ErrFull }

// TestTryNot: mail whose sender hears of it otherwise, or nobody does, goes straight to the spool.
func TestTryNot(t *testing.T) {
	for name, change := range map[string]func(*relay.Message){
		"null sender":      func(m *relay.Message) { m.Envelope.From = "" },
		"report":           func(m *relay.Message) { m.Report = true },
		"another's report": func(m *relay.Message) { m.StatusReport = true },
		"success asked":    func(m *relay.Message) { m.Recipients[1].Notify = relay.NotifySuccess },
		"several lanes":    func(m *relay.Message) { m.Recipients[1].Address = "b@other.example" },
	} {
		w := newTrial()
		w.lane = func(*Offer) { t.Errorf("%s: it was offered", name) }
		m := newMessage()
		change(m)
		after, err := w.inbox.Try(t.Context(), m, strings.NewReader("x"), false)
		if err != nil || after != nil || !strings.HasPrefix(w.steps[0], "put ") {
			t.Errorf("%s: told %v, error %v, steps %q", name, after, err, w.steps)
		}
	}
}

// archived makes the inbox add an archive to all mail.
func archived(w *trial, address string) {
	w.inbox.Rewrite = func(m *relay.Message) {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: address, Archive: true})
		m.Changed = []string{"archived"}
	}
}

// TestTryArchive: an archive gets one copy of what its upstream relays or the spool takes, none of what is
// refused, and the client hears nothing of it.
func TestTryArchive(t *testing.T) {
	both := []relay.State{relayed, relayed}
	events := []string{"accepted a@example.net", "accepted b@example.net"}
	for _, tc := range []struct {
		name  string
		world func(*trial)
		told  []relay.State
		steps []string // COPY stands for the copy
		err   error
	}{
		{"relayed", func(w *trial) { w.lane = settles(0, relayed, relayed) }, both,
			slices.Concat([]string{"COPY", "put", "wake"}, events, []string{"accepted COPY", "wake"}), nil},
		{"refused", func(w *trial) { w.lane = settles(0, failedSt, failedSt) },
			[]relay.State{failedSt, failedSt}, nil, nil},
		{"deferred", func(w *trial) { w.lane = settles(0, failedSt, deferred) },
			[]relay.State{failedSt, deferred},
			slices.Concat([]string{"COPY", "put", "wake"}, events, []string{"accepted COPY", "wake"}), nil},
		{"not taken by the lane", func(w *trial) { w.refuse = true }, nil,
			slices.Concat([]string{"COPY", "put", "wake"}, events, []string{"accepted COPY", "wake"}), nil},
		{"slow, then refused", func(w *trial) { w.lane = settles(time.Minute, failedSt, failedSt) }, nil,
			slices.Concat([]string{"COPY", "put leased", "wake"}, events,
				[]string{"accepted COPY", "settle token"}), nil},
		{"spool full before", func(w *trial) { w.admit, w.refuse = relay.ErrFull, true }, nil,
			slices.Concat([]string{"put 2 at once"}, events, []string{"accepted COPY", "wake", "wake"}), nil},
		{"spool full after", func(w *trial) { w.put, w.lane = full, settles(0, relayed, relayed) }, both,
			[]string{"not put"}, relay.ErrFull},
	} {
		for _, address := range []string{"archive@example.net", "archive@elsewhere.example"} {
			synctest.Test(t, func(t *testing.T) {
				w := newTrial()
				tc.world(w)
				archived(w, address)
				after, err := w.inbox.Try(t.Context(), newMessage(), strings.NewReader("x"), false)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				var told []relay.State
				for i := range after {
					told = append(told, after[i].State)
				}
				steps := slices.DeleteFunc(w.steps, func(s string) bool { return s == "discard" })
				names := strings.NewReplacer("copy "+address+" [archived]", "COPY", address, "COPY")
				for i := range steps {
					steps[i] = names.Replace(steps[i])
				}
				if !errors.Is(err, tc.err) || !reflect.DeepEqual(told, tc.told) ||
					!slices.Equal(steps, tc.steps) {
					t.Errorf("%s, %s: %v, told %v\nsteps %q\nwant  %q", tc.name, address, err, told, steps,
						tc.steps)
				}
			})
		}
	}
}

// onList has all mail to example.net suppressed.
type onList struct{}

func (onList) Check(_, recipient string, _ time.Time) (c relay.SuppressionCheck) {
	if strings.HasSuffix(recipient, "@example.net") {
		c.Entry = &relay.Suppression{Address: recipient}
	}
	return c
}

// TestSuppressedWithArchive: an archive does not keep mail from being refused of which all other recipients
// are suppressed, and gets nothing then.
func TestSuppressedWithArchive(t *testing.T) {
	w := newTrial()
	archived(w, "archive@elsewhere.example")
	w.inbox.Suppressions = onList{}
	w.inbox.Diagnose = func(diagnose.Symptom) diagnose.Diagnosis { return diagnose.Diagnosis{} }
	err := w.inbox.Accept(t.Context(), newMessage(), strings.NewReader("x"))
	var suppressed *relay.SuppressedError
	want := []string{"suppressed a@example.net", "suppressed b@example.net"}
	if !errors.As(err, &suppressed) || !slices.Equal(w.steps, want) {
		t.Errorf("%v, steps %q", err, w.steps)
	}
}

// TestTryTellsOperator: what an operator is to be told of a refused mail is stored, and no bounce.
func TestTryTellsOperator(t *testing.T) {
	for _, spool := range []func() error{nil, full} {
		w := newTrial()
		w.put = spool
		w.lane = func(o *Offer) {
			s := outcome(o.Message(), failedSt, failedSt)
			n := relay.Notice{Message: o.Message().ID, Kind: relay.NoticeOperator, To: "ops@example.net"}
			s.Owed = append(s.Owed, n.Entry())
			o.Settle(context.Background(), s)
		}
		_, err := w.inbox.Try(t.Context(), newMessage(), strings.NewReader("x"), false)
		if spool != nil {
			if !errors.Is(err, relay.ErrFull) {
				t.Errorf("with a full spool: %v", err)
			}
			continue
		}
		if err != nil || len(w.owed) != 1 || len(w.events) > 0 {
			t.Fatalf("%v, owed %v, events %v", err, w.owed, w.events)
		}
		if n, err := relay.NoticeOf(w.owed[0]); err != nil || n.Kind != relay.NoticeOperator {
			t.Errorf("owed %+v, %v", n, err)
		}
	}
}

// TestTryExtends: the lane keeps the lease of a mail that it still offers when the spool has it.
func TestTryExtends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTrial()
		w.lane = func(o *Offer) {
			o.Extend(context.Background(), time.Minute)
			time.Sleep(time.Minute)
			o.Extend(context.Background(), time.Minute)
			o.Settle(context.Background(), outcome(o.Message(), relayed, relayed))
		}
		if _, err := w.inbox.Try(t.Context(), newMessage(), strings.NewReader("x"), false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := slices.Index(w.steps, "extend token"); n < 0 || w.steps[n+1] != "settle token" {
			t.Errorf("steps %q", w.steps)
		}
	})
}

// TestTryContentFails: an error of the content is the caller's, and nothing is offered.
func TestTryContentFails(t *testing.T) {
	w := newTrial()
	w.lane = func(*Offer) { t.Error("it was offered") }
	broken := errors.New("cut")
	_, err := w.inbox.Try(t.Context(), newMessage(), io.MultiReader(strings.NewReader("x"),
		readerFunc(func([]byte) (int, error) { return 0, broken })), false)
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
