// Package lane is the work for one upstream. relay/app makes a Lane for each configured upstream and runs it.
//
// The life of a message:
//
//	fill       leases what is due, as far as the pace allows, and puts it into the work channel      lane.go
//	worker     takes a leased message and hands it to the upstream, which offers it on a connection  worker.go
//	conclude   gets an Attempt for each recipient, or a fault met before MAIL                        worker.go
//	diagnose   explains each refusal                                                                 outcome.go
//	decide     says what becomes of the recipient: relayed, failed, expired, held, deferred until    decide.go
//	noticesFor says which reports are owed for that                                                  notices.go
//	settle     writes the recipients' new state and the notices, in one transaction                  worker.go
//	record     tells the recorders, only now                                                         worker.go
//	note       takes in what the attempt says about more than its message: a limit, our account      lane.go
//	pause      stops the lane when the upstream is out of reach or refuses us; probes end the pause  outage.go
//
// What always holds: one goroutine owns the lane's state and workers talk to it through signals; a connection's
// outcome is settled before its next content is sent, so a crash doubles at most one message a connection; nobody is
// bounced for a fault of our own, while the lane is paused mail waits and only its expiry ends it (expiry.go); one
// recipient, domain or sender that is throttled does not slow the mail of others (limits.go, senders.go); how much
// is sent adapts to what the upstream says (pace.go).
//
// The class of a reply decides a recipient's fate (RFC 5321, 4.2.1) and messages are given up after the time that
// RFC 5321, 4.5.4.1 suggests, unless configured otherwise.
package lane
