package diagnose

import "slices"

// An address is given up by whoever reads the answer, often by a program, and is hard to get back. So the
// hint remove_address needs a server that says of this address, for good, that it is at fault: a wording that
// was understood, with at least medium confidence, or an enhanced code of the address itself, and nothing
// beside it that nobody understood. What falls short keeps its reason, if that rests on words, and asks to
// wait.

// removes reports whether the hint of a reason is to remove the address.
func (e *Engine) removes(r Reason) bool { return e.reasons[r].Action == ActionRemoveAddress }

// blames reports whether a reason finds the fault in the address, for the application to mend.
func (e *Engine) blames(r Reason) bool {
	info := e.reasons[r]
	return info.Scope == ScopeRecipient && info.Owner == OwnerApplication
}

// unexplained reports whether a table's reason must not speak: it would give up the address, or blame it by a
// bare code, beside words that nobody understood, or after the content, where a code says nothing of an
// address (RFC 5321, 4.2.3).
func (e *Engine) unexplained(s *Symptom, f *finding, v *vote, reason Reason) bool {
	if !e.removes(reason) && !(s.Reply.Enhanced.IsZero() && e.blames(reason)) {
		return false
	}
	if v.basis == BasisText {
		return f.unread && v.top.stock
	}
	if e.namesAddress(s) {
		return false // the code says what the words may only repeat; the address is kept all the same
	}
	return f.unread || s.Stage == StageEndOfData
}

// namesAddress reports whether the enhanced code says of the address itself that it is at fault (RFC 3463,
// 3.2 and 3.3).
func (e *Engine) namesAddress(s *Symptom) bool {
	row := e.enhancedRow(s.Reply.Enhanced)
	return row != nil && row.Address
}

// keep takes the hint to remove the address back where it is not certain enough.
func (e *Engine) keep(s *Symptom, d *Diagnosis, f *finding, stock bool) {
	switch {
	case d.Action != ActionRemoveAddress:
		return
	case s.Reply.Class() == 4, s.Reply.Code == 0 && s.Reply.Enhanced.Class == 4:
		d.Fix = slices.Clone(e.keepNow)
	case e.certain(s, d, f, stock):
		return
	default:
		d.Fix = slices.Clone(e.keepUnsure)
	}
	d.Action = ActionWait
}

// certain reports whether the answer may give up the address.
func (e *Engine) certain(s *Symptom, d *Diagnosis, f *finding, stock bool) bool {
	switch {
	case d.Scope != ScopeRecipient:
		return false
	case f.unread && d.Basis != BasisText && d.Basis != BasisNetwork:
		return false
	case e.namesAddress(s) || d.Basis == BasisNetwork:
		return true
	case stock: // RFC 5321 (4.2.3): to RCPT, 550 with its own text means that there is no mailbox
		return s.Stage == StageRcpt && s.Reply.Code == 550
	}
	return d.Basis == BasisText && d.Confidence != Low
}
