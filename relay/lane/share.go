package lane

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Sharing is how an account is divided among several relays.
type Sharing struct {
	Shares relay.Shares
	Board  relay.Board // carries the limits that lanes meet to the other relays; nil: they do not hear
	Self   string      // this relay, as the Board has it
	Name   string      // of the account: the same in all relays
	// Keeper has the connections of the account, looked up each time; nil for one that keeps none.
	Keeper func() relay.ConnectionKeeper
	Log    *slog.Logger
}

// The constants of a share.
const (
	shareTimeout = 5 * time.Second       // for one answer
	shareRetry   = time.Second           // after the engine did not answer
	spareFor     = time.Second           // for which a granted message that no lane takes is kept
	shareGap     = 20 * time.Millisecond // between two queries, whatever happens
	limitFresh   = 10 * time.Second      // after which a limit that another relay met is no news
	farewell     = 50 * time.Millisecond // after which connections that are being closed are looked at again
)

// shared is an account's part of what several relays have. Its own goroutine (Account.Keep) talks with the
// engine; lanes never wait for it. The account's mu guards it.
type shared struct {
	Sharing
	wake chan struct{}

	allowed  int       // connections that we may have
	frozen   int       // ... while an answer is awaited: those above may have been given to others
	until    time.Time // when the share is over; monotonic
	spare    int       // messages granted that no lane has taken
	sparedAt time.Time
	begun    int // messages that a lane has taken and that have not ended
	ended    int64
	used     int       // messages that lanes took since the last query
	toldAt   time.Time // when the others were last told of a limit
	leaving  int       // workers that were asked to give their connection up
	needs    map[*Lane]need
	known    bool        // the engine may count us
	lapse    *time.Timer // closes what is idle when the share is over
}

// need is what a lane waits for.
type need struct{ connections, messages int }

// notFrozen is shared.frozen while no answer is awaited.
const notFrozen = -1

// Share has the account divided among several relays. It is called before the account is used; Keep must run
// then.
func (a *Account) Share(s Sharing) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shared = &shared{Sharing: s, wake: make(chan struct{}, 1), frozen: notFrozen, needs: map[*Lane]need{}}
}

// wakeKeeper makes the keeper ask now.
func (s *shared) wakeKeeper() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// valid reports whether the share is in force.
func (s *shared) valid() bool { return time.Now().Before(s.until) }

// grant takes up to n messages out of the share.
func (s *shared) grant(l *Lane, n int, limited bool) (granted int) {
	if s.valid() {
		granted = n
		if limited {
			granted = min(n, s.spare)
			s.spare -= granted
		}
		s.begun += granted
		s.used += granted
	}
	if granted < n {
		want := s.needs[l]
		want.messages = n - granted
		s.needs[l] = want
		s.wakeKeeper()
	}
	return granted
}

// giveBack returns messages that were not begun.
func (s *shared) giveBack(n int, limited bool) {
	s.begun = max(s.begun-n, 0)
	if limited && s.valid() {
		s.spare += n
	}
}

// ends notes that a message is no longer under way, and whether it was offered.
func (s *shared) ends(offered, exact bool) {
	s.begun = max(s.begun-1, 0)
	if !offered {
		return
	}
	s.ended++
	if exact {
		s.wakeKeeper() // it counts until so long after the engine hears of it
	}
}

// wants notes how many connections a lane waits for.
func (s *shared) wants(l *Lane, connections int) {
	want := s.needs[l]
	if want.connections == connections {
		return
	}
	want.connections = connections
	s.needs[l] = want
	if connections > 0 {
		s.wakeKeeper()
	}
}

// connections are those of the upstream: open, busy or not, and about to be closed.
func (s *shared) connections() (open, ending int) {
	if s.Keeper == nil {
		return 0, 0
	}
	if k := s.Keeper(); k != nil {
		return k.Connections()
	}
	return 0, 0
}

// closeIdle closes idle connections.
func (s *shared) closeIdle(keep int) {
	if s.Keeper == nil {
		return
	}
	if k := s.Keeper(); k != nil {
		k.CloseIdle(keep)
	}
}

// most is how many connections the account may have now, those included that are about to be closed.
func (a *Account) most() int {
	s := a.shared
	switch {
	case s == nil:
		return a.connections
	case !s.valid():
		return 0
	case s.frozen != notFrozen:
		return min(s.allowed, s.frozen)
	}
	return s.allowed
}

// free reports whether a connection is free: a worker that begins uses an idle one or opens another.
func (a *Account) free() bool {
	if a.shared == nil {
		return a.open < a.connections
	}
	open, ending := a.shared.connections()
	return ending+max(open, a.open+1) <= a.most()
}

// over reports whether a worker must give its connection up, because the share is smaller than what is used,
// or over.
func (a *Account) over() bool {
	s := a.shared
	switch {
	case s == nil:
		return false
	case !s.valid():
		return true
	case a.open-s.leaving > s.allowed:
		s.leaving++
		return true
	}
	return false
}

// enough says that a lane waits for no further messages.
func (a *Account) enough(l *Lane) {
	if a == nil || a.shared == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if want := a.shared.needs[l]; want.messages > 0 {
		want.messages = 0
		a.shared.needs[l] = want
	}
}

// Keep asks for the account's share, when what the lanes need changes and as often as the engine wants, until
// ctx ends. It returns at once if the account is not shared.
func (a *Account) Keep(ctx context.Context) {
	s := a.shared
	if s == nil {
		return
	}
	if s.Board != nil {
		defer s.Board.Watch("limit/"+s.Name, a.hear)()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		next, err := a.ask(ctx)
		if failed := err != nil && ctx.Err() == nil; failed != away {
			away = failed
			if away {
				s.Log.Warn("the cluster does not answer: soon nothing is sent", "account", s.Name, "err", err)
			} else {
				s.Log.Info("the cluster answers again", "account", s.Name)
			}
		}
		timer.Reset(next)
		time.Sleep(shareGap)
	}
}

// limitNews is the entry of the board for a limit that was met.
type limitNews struct {
	Kind    limitKind           `json:"kind"`
	Tried   *relay.Attempt      `json:"tried"`
	Meaning *diagnose.Diagnosis `json:"meaning"`
}

// tell passes a limit that a lane met on to other relays, once in the time in which replies count as one.
func (s *shared) tell(h *metLimit) {
	if since := time.Since(s.toldAt); s.Board == nil || since < paceWindow {
		return
	}
	s.toldAt = time.Now()
	body, err := json.Marshal(limitNews{h.kind, quoted(h.tried), h.meaning})
	if err != nil {
		return // they will meet it themselves
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), shareTimeout)
		defer cancel()
		s.Board.Write(ctx, "limit/"+s.Name, relay.AnyVersion, body, limitFresh)
	}()
}

// hear passes a limit that another relay met on to the lanes of this one.
func (a *Account) hear(e relay.BoardEntry) {
	var n limitNews
	if e.By == a.shared.Self || e.Age > limitFresh || json.Unmarshal(e.Body, &n) != nil || n.Meaning == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tellMembers(nil, &metLimit{limit: limit{kind: n.Kind}, refusal: refusal{n.Tried, n.Meaning}})
}

// ask asks for the share once, and returns how long to wait before asking again.
func (a *Account) ask(ctx context.Context) (time.Duration, error) {
	q, told := a.query()
	if !told {
		return lookAgain, nil
	}
	limited, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	got, err := a.shared.Shares.Take(limited, q)
	if err != nil {
		return shareRetry, err
	}
	return a.answered(&q, got), nil
}

// query is what the account has and needs; told is false while there is nothing to say.
func (a *Account) query() (q relay.ShareQuery, told bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shared
	if s.spare > 0 && (!s.valid() || time.Since(s.sparedAt) > spareFor) {
		s.spare = 0
	}
	open, ending := s.connections()
	q = relay.ShareQuery{Account: s.Name, Connections: a.connections, Messages: a.rate.Messages,
		Per: a.rate.Per, Exact: a.window != nil, Held: ending + max(open, a.open), Begun: s.begun + s.spare,
		Ended: s.ended}
	asked := 0
	q.Wanted = a.open
	for l := range s.needs {
		q.Wanted += s.needs[l].connections
		asked += s.needs[l].messages
	}
	if asked > 0 {
		q.Wanted = max(q.Wanted, 1)
	}
	if a.burst() > 1 && a.open > 0 {
		asked = max(asked, s.used) // as many as in the time before
	}
	s.used = 0
	q.Ask = max(asked-s.spare, 0)
	if q.Leaves() {
		s.allowed, told = 0, s.known
	} else {
		s.known, told = true, true
	}
	s.frozen = q.Held
	return q, told
}

// answered puts a share in force, and tells the lanes that wait for it.
func (a *Account) answered(q *relay.ShareQuery, got relay.Share) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shared
	s.frozen = notFrozen
	if q.Leaves() {
		s.known, s.ended = false, s.ended-q.Ended
		return lookAgain
	}
	s.allowed, s.until = got.Connections, got.Until
	if got.Messages > 0 && a.rate.PerSecond() > 0 {
		s.spare, s.sparedAt = s.spare+got.Messages, time.Now()
	}
	a.setLapse()
	open, ending := s.connections()
	if ending+open > s.allowed {
		s.closeIdle(max(s.allowed-ending, 0))
	}
	for l, want := range s.needs {
		if want.messages > 0 && (s.spare > 0 || a.rate.PerSecond() == 0) {
			s.needs[l] = need{connections: want.connections}
			l.Kick()
		}
	}
	a.call()
	if ending > 0 {
		return min(got.Again, farewell)
	}
	return got.Again
}

// setLapse has idle connections closed when the share is over.
func (a *Account) setLapse() {
	s := a.shared
	left := time.Until(s.until)
	if s.lapse == nil {
		s.lapse = time.AfterFunc(left, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if !s.valid() {
				s.spare = 0
				s.closeIdle(0)
			}
		})
		return
	}
	s.lapse.Reset(left)
}
