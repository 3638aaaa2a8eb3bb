package queue

// Fair gives out the slots of a lane, fairly between senders: see the package comment. It is for one
// goroutine at a time.
type Fair struct {
	virtual int64            // highest slot that was leased
	newest  map[string]int64 // slot of each sender, as far as it is above virtual
}

// NewFair makes a Fair for a lane in which nothing waits.
func NewFair() *Fair { return &Fair{newest: map[string]int64{}} }

// newestMax bounds the senders that a lane remembers.
const newestMax = 4096

// Next gives out the next slot of a sender.
func (f *Fair) Next(sender string) int64 {
	slot := max(f.virtual, f.newest[sender]) + 1
	if _, ok := f.newest[sender]; !ok && len(f.newest) >= newestMax {
		f.forget()
	}
	f.newest[sender] = slot
	return slot
}

// Leased notes that the message with a slot was leased.
func (f *Fair) Leased(slot int64) { f.virtual = max(f.virtual, slot) }

// Had notes that a sender has a slot that was given out before.
func (f *Fair) Had(sender string, slot int64) { f.newest[sender] = max(f.newest[sender], slot) }

// forget drops the senders that are least ahead, until half of the room is free.
func (f *Fair) forget() {
	for ahead := int64(0); len(f.newest) > newestMax/2; ahead = 2*ahead + 1 {
		for sender, slot := range f.newest {
			if slot <= f.virtual+ahead {
				delete(f.newest, sender)
			}
		}
	}
}
