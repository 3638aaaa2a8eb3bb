// Package lane is the work for one upstream. relay/app makes a Lane for each configured upstream and runs it.
//
// The life of a message:
//
//	fill       lane.go     leases what is due, as far as the pace allows, and puts it into the work channel
//	worker     worker.go   takes a leased message and gives it to the upstream, which offers it
//	conclude   worker.go   gets an Attempt for each recipient, or a fault met before MAIL
//	diagnose   outcome.go  explains each refusal
//	decide     decide.go   says what becomes of the recipient: relayed, failed, expired, held or deferred
//	NoticesFor notices.go  says which reports the sender is owed for that
//	settle     worker.go   writes the recipients' new state and the notices, in one transaction
//	record     worker.go   hands the events to the recorders, only now
//	note       signal.go   handles what the attempt says beyond its own message: a limit, our account
//	pause      outage.go   stops the lane while the upstream is unreachable or refuses us, and probes it
//
// A message may also come from the session that brought it, before it is stored (offer.go): it takes the same
// way from the work channel on, and its session settles it, or is given it back.
//
// What always holds:
//   - One goroutine owns the lane's state; workers talk to it through signals.
//   - A connection's outcome is settled before its next content is sent, so a crash duplicates at most one
//     message for each connection.
//   - No message is bounced for a fault of our own. While the lane is paused mail waits, until its own expiry
//     (expiry.go).
//   - A throttled recipient, domain or sender does not slow the mail of others (limits.go, senders.go).
//   - Lanes of one account stay together within its connections and its rate (account.go).
//   - The sending rate adapts to what the upstream says (pace.go), and is never above the configured one in
//     any span of its time, if that is a minute or longer (window.go).
//
// The class of a reply decides a recipient's fate (RFC 5321, 4.2.1). A message is given up when the
// configured time is over (RFC 5321, 4.5.4.1).
package lane
