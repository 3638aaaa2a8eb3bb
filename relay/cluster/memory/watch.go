package memory

import (
	"strings"
	"sync"
	"time"

	"mailwhy/relay"
)

// watcher tells one Watch of a member what has changed.
type watcher struct {
	m       *Member
	prefix  string
	changed map[string]bool  // names that are to be told
	told    map[string]int64 // the version that was told, by name
	wake    chan struct{}
}

// Watch implements relay.Board.
func (m *Member) Watch(prefix string, tell func(relay.BoardEntry)) (stop func()) {
	w := &watcher{m: m, prefix: prefix, changed: map[string]bool{}, told: map[string]int64{},
		wake: make(chan struct{}, 1)}
	end, ended := make(chan struct{}), make(chan struct{})
	m.e.mu.Lock()
	m.e.watchers[w] = true
	for _, name := range m.e.names(prefix) {
		if m.e.inForce(name).Version > 0 {
			w.add(name)
		}
	}
	m.e.mu.Unlock()
	go w.run(tell, end, ended)
	return sync.OnceFunc(func() {
		m.e.mu.Lock()
		delete(m.e.watchers, w)
		m.e.mu.Unlock()
		close(end)
		<-ended
	})
}

// run tells what has changed until the end.
func (w *watcher) run(tell func(relay.BoardEntry), end, ended chan struct{}) {
	defer close(ended)
	for {
		select {
		case <-end:
			return
		case <-w.wake:
		}
		for _, one := range w.take() {
			select {
			case <-end:
				return
			default:
				tell(one)
			}
		}
	}
}

// add notes a change. The caller holds the engine's lock.
func (w *watcher) add(name string) {
	if !strings.HasPrefix(name, w.prefix) {
		return
	}
	w.changed[name] = true
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be told; nothing while the member is cut off.
func (w *watcher) take() (list []relay.BoardEntry) {
	e := w.m.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if !w.m.cut.IsZero() {
		return nil
	}
	now := time.Now()
	for name := range w.changed {
		one := e.entries[name]
		if one.Version > w.told[name] && !one.lapsed(now) {
			w.told[name] = one.Version
			list = append(list, one.told(now))
		}
	}
	clear(w.changed)
	return list
}

// catchUp tells a member what it missed. The caller holds mu.
func (e *Engine) catchUp(m *Member) {
	for w := range e.watchers {
		if w.m == m {
			for _, name := range e.names(w.prefix) {
				w.add(name)
			}
		}
	}
}
