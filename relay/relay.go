// Package relay has the types that all rooms share and the ports through which rooms are joined.
//
// The types are Message, Envelope, Recipient, Attempt, Notice and Event. The ports are the store (Spool and
// its add-ons), the next hop (Upstream), the recorders (Recorder), the composer of reports (Composer) and
// what replicas share (Coordination). Rooms below this one use or implement ports and never import one
// another; relay/app joins them:
//
//	smtpd -> accept -> spool -> lane -> upstream
//	                     |       |
//	                     |       +-> record (delivery log, metrics)
//	                     +-> report -> dsn
//
// What always holds: a message that was accepted is relayed, reported or visible in the queue; a settlement
// and the notices that it causes are one transaction; the class of the reply decides a recipient's fate (RFC
// 5321, 4.2.1), the diagnosis only explains, delays, holds or pauses; no mail is bounced for a fault of our
// own.
//
// Everything here is data: nothing does I/O and nothing runs on its own.
package relay
