// Package recall remembers what was relayed, for as long as something may come back for it, and keeps what
// comes back until it has had its effect. It is one SQLite file of its own, beside the spool.
//
// Who calls it: the lanes tell it of each message that was handed over (Relayed); the webhooks and the ways
// of bounce mail append what they get (Append); feedback/processor takes what is due (Due), looks for the
// messages (Find) and stores the effects (Apply); a report.Reporter makes bounces of what is owed, since a
// Store is a relay.Outbox; people ask what is remembered of a message (Remembered), and for what waits or
// could not be used (List, Show, Replay).
//
//	Append -> a Raw waits -> Read -> its Events wait -> Apply -> Told, state, notice owed -> Claim, Consume
//	                |                      |
//	                +- unreadable          +- unmatched: both are kept for a while, and can be replayed
//
// What always holds:
//
//   - After Append returned nil the report survives kill -9 and a power cut. All changes of what came back
//     are transactions, each of which is synced; a crash between any two loses nothing, and what is done
//     again does nothing: events are known by a key made of source, provider and id.
//   - A recipient's state goes forward only, and its first failure wins: it leaves one notice, whatever comes
//     how often and by which ways. Events that prove nothing (Effect.Weak) are told, and change no state.
//   - What is owed is removed in the transaction that stores the answer; from here the answer goes into the
//     spool, which knows its id. So a crash neither loses nor doubles a bounce.
//   - Relayed returns at once and never fails. What it is told is written in batches, at most a second later
//     and not synced: a crash loses seconds of it, and a full buffer what does not fit (Stat counts that).
//     Of a message that was forgotten, what comes back is unmatched.
//   - All is bounded: messages by age and number, reports by number and bytes, what is told of one message by
//     number. The oldest go first; of reports, those that could not be matched.
//   - When the disk is full what is asked for fails, whole, and goes on when there is room.
//
// One goroutine writes. Those who wait for it share a commit.
package recall
