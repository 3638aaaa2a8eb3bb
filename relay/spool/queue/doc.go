// Package queue is the order in which messages are leased, and the leases: all of it in memory, for an
// engine whose store only one process has open. It knows neither the database nor the disk.
//
// The engine asks it for the slot of each message that becomes due (GiveSlot), stores the slot with the
// message, and says when that is committed (Arrive, ArriveNew). To lease, it takes what the lane has in
// memory (LeaseInMemory) or else reads the stored messages that follow the lane's cursor and hands them out
// (StartScan, HandOut). It says when a settlement begins and ends (BeginSettle, EndSettle).
//
// # Fair queueing
//
// Each lane is one queue, fair between senders and in time order for each. A message that is due has a
// slot, a number, and is leased in the order of these. A message's slot is one more than the greater of its
// sender's newest slot and the slot that was leased last. So the first message of a sender goes next to the
// head of the queue, however much another sender has waiting, and each sender's own messages follow one
// another. This is start-time fair queueing (Goyal, Vin, Cheng 1996) with messages of equal weight. It
// needs the newest slot only of those senders that are ahead of the last slot leased; the map of them is
// bounded, and what is forgotten costs some fairness, nothing else.
//
// A message that is not due yet has no slot. A scan goes on where the last one ended, so leased messages
// are not passed over again and again. Whatever comes to stand before that point (a lease that lapsed, a
// commit that was overtaken) moves the point back.
//
// # What always holds
//
//   - A message is leased to one caller at a time. A lease whose settlement has begun does not lapse.
//   - Leases end with the process. One costs no write to the database, only a row of the run state.
//   - A lane has messages in memory only while all that stands after its cursor, but for leased ones, is
//     among them. Whatever else changes the lane's stored messages moves the cursor back (stepBack) and
//     with that evicts them: the database has them all.
//   - Memory is bounded: Options.Memory bytes of messages for a lane and of contents, 4,096 senders for a
//     lane, and the ids of the last 16,384 messages that have gone.
//   - Deadlines of leases are monotonic: they do not move with the wall clock. Due times are the wall
//     clock's. One that lies further ahead than Options.MaxDelay can only come from a clock that was set
//     back, and counts as due.
package queue
