package suppress

import "mailwhy/relay"

// Record implements relay.Recorder: it learns from what became of a recipient. It returns at once; what
// must be known for the next Check is in memory when it does.
func (l *List) Record(e relay.Event) {
	set := l.o.Settings()
	if e.Kind == relay.EventSuppressed {
		l.count(&set, &e)
		return
	}
	if set.Mode == Off {
		return
	}
	f, ok := l.find(&e)
	if !ok {
		return
	}
	key := l.key(f.address)
	asked, h := l.hash("", key), l.hash(f.scope, key)
	believed := l.believes(&f, asked, &set.Breaker)
	l.answered(asked, f.kind)
	l.mu.RLock()
	expires, listed := l.index[h]
	l.mu.RUnlock()
	if set.Mode == Observe && listed && expires > f.time.UnixNano() {
		l.observe(&e, &f, h)
	}
	switch {
	case f.kind == failed && !believed, f.kind == nothing:
		return
	case (f.kind == relayed || f.kind == delivered) && !listed:
		return
	case f.kind == failed && f.certain, f.kind == complained, f.kind == ordered:
		l.expect(h, &f, &set)
	}
	l.w.learn(&f)
}

// answered notes that an address is not in question any more, or that it is.
func (l *List) answered(asked uint64, k kind) {
	l.mu.RLock()
	known := l.asked.has(asked)
	l.mu.RUnlock()
	if known == (k != failed) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k != failed {
		l.asked.add(asked)
		return
	}
	delete(l.asked.now, asked)
	delete(l.asked.before, asked)
}

// expect puts a finding that suppresses an address in force before it is stored.
func (l *List) expect(h uint64, f *finding, set *Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if expires, listed := l.index[h]; listed && expires > f.time.UnixNano() {
		return // it is suppressed already, for as long as it was
	}
	if next, what := decide(nil, f, set); what == created {
		l.fresh[h], l.index[h] = next, mark(next)
	}
}

// mark is what the index has of an entry.
func mark(s *relay.Suppression) int64 {
	switch {
	case s.State == relay.SuppressionNoted:
		return isNoted
	case s.State == relay.SuppressionTrial:
		return isTrial
	case s.Expires.IsZero():
		return forEver
	}
	return s.Expires.UnixNano()
}

// believes counts a recipient for the breaker of its upstream, and reports whether what that says counts.
func (l *List) believes(f *finding, asked uint64, set *Breaker) bool {
	if f.kind != failed && f.kind != relayed {
		return true
	}
	believed, what, since := l.breaker.note(f.upstream, asked, f.kind == failed, f.time, set)
	switch what {
	case trips:
		l.o.Log.Error("an upstream calls nearly every recipient unknown: it is not believed, no address is "+
			"suppressed for what it says, and those of today are taken off the list",
			"upstream", f.upstream)
		l.w.takeBack(f.upstream, since)
	case closes:
		l.o.Log.Info("an upstream that called nearly every recipient unknown is believed again", "upstream",
			f.upstream)
	}
	return believed
}

// count counts a message that was suppressed.
func (l *List) count(set *Settings, e *relay.Event) {
	if e.Suppression != nil {
		l.o.Counted(set.Mode, Counted{Reason: e.Suppression.Reason})
	}
}

// observe tells of a message that would have been suppressed in mode enforce, and whether that would have
// been wrong.
func (l *List) observe(e *relay.Event, f *finding, h uint64) {
	s := l.entry(h, f.scope, l.key(f.address))
	if s == nil || f.kind != relayed && f.kind != failed || l.isFeedback(f) {
		return
	}
	told := relay.SuppressionEvent("observed", s, f.time)
	told.ID, told.From, told.To, told.Lane = e.ID, e.From, e.To, e.Lane
	told.Note = "it would have been suppressed; the upstream refused it"
	if f.kind == relayed {
		told.Note = "it would have been suppressed; the upstream took it"
	}
	l.o.Counted(Observe, Counted{Reason: s.Reason, Taken: f.kind == relayed})
	l.o.Record(told)
}

// isFeedback reports whether a finding was told later, and so is about no message of now.
func (l *List) isFeedback(f *finding) bool {
	return f.kind == failed && f.entry.Source != relay.SuppressedInSession
}
