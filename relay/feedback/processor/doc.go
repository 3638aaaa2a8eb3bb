// Package processor works through what came back after the upstream's 250. relay/app makes one and runs it;
// what it takes and what it stores is in recall.
//
// The life of a report:
//
//	prove    read.go       if its origin could not be checked when it came
//	read     read.go       by its source's own reader: an event for each recipient. One that has no effect
//	                       now waits on its own from here on
//	match    match.go      finds the message and the recipient, by the event's keys
//	grade    grade.go      says how sure that is: proven, likely, weak or guess
//	decide   effect.go     the state that the recipient comes to, and whether a notice is owed
//	diagnose effect.go     by the same engine as a reply in the session
//	apply    recall        all of it in one transaction
//	record   processor.go  hands the event to the recorders, only now
//
// What always holds:
//   - No effect before the proof. The grade bounds the effect: what is weak or guessed is logged, and neither
//     changes a state nor owes a notice.
//   - An event that overtakes the settlement of its message waits. One for a recipient whose final dot was
//     never answered proves that the upstream has the message: the recipient is settled as relayed and not
//     offered again, and then the event is handled as any.
//   - What could not be matched is looked for again after 1 s, 10 s, 1 min, 10 min and 1 h, then each hour,
//     and is unmatched after 24 h. What cannot be read is kept as it came. Neither is lost silently.
//   - The class of the reply decides (RFC 5321, 4.2.1): a 5yz has failed, though the provider calls it soft
//     or tries again; a 4yz has failed when the provider says that it gave up. Where no reply is quoted the
//     provider's word does.
//   - What recipients' servers say never pauses a lane: nothing here speaks to one.
//   - Done again it does nothing: a crash between any two steps repeats some of them, and recall knows what
//     had its effect. An event that was stored and not recorded when the process died is missing in the log
//     and stands in recall.
//
// One goroutine does all of it, a batch at a time. While there is mail to relay it rests for nineteen
// twentieths of the time: mail goes first, and the journal keeps what came back.
package processor
