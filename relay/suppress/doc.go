// Package suppress keeps the suppression list: addresses that mail is not offered to, because their servers
// said for certain that nobody is there, or because their owners complained.
//
// Who calls it: relay/app makes one List; accept and the lanes ask it (Check) before mail is taken in and
// right before an attempt; as a Recorder it hears what became of mail, from the lanes and from feedback; the
// operator looks into it and changes it through the control socket (operate.go), and without a relay through
// a List of the command's own.
//
//	Record   record.go    an event becomes a finding, if it says anything about an address
//	evidence evidence.go  which failures count, and how much: by the diagnosis, never by a code
//	decide   decide.go    pure: the entry as it was, a finding and the settings give the entry as it is
//	writer   writer.go    stores it, updates the index, and tells of it in an event of its own
//	Check    list.go      asks the index, which is in memory, and reads the entry only of what it holds
//	share    share.go     what the other replicas of a cluster have not got yet; replica exchanges it
//
// What always holds:
//
//   - Only a permanent refusal counts whose text the engine read with high confidence as a failure of the
//     recipient's address. A temporary reply, a fault of our own, a refusal for the sender, the content or
//     the upstream's account, and what was guessed from a code never do. Of feedback only what is proven
//     counts.
//   - A List that cannot read or write its file lets mail pass, says so (State), and tries again. Mail is
//     never held up by it.
//   - What a settled event changes is in force for the next Check at once, and on the disk some milliseconds
//     later: a crash in between costs one more refusal of the address. What the operator changes is on the
//     disk before it is answered.
//   - An upstream that refuses nearly everybody adds nothing (breaker.go).
//   - Memory is some 30 bytes an entry, and the number of entries is bounded.
package suppress
