// Package relay is mailwhy's vocabulary and engine.
//
// The vocabulary is what every room speaks: Message, Envelope, Recipient, Attempt, Notice, Event, and the ports through
// which the engine reaches a store (Spool), a next hop (Upstream) and whoever records (Recorder). Rooms below this one
// implement a port each and never import one another; cmd/mailwhy joins them.
//
// The engine takes messages in (Accept), leases what is due (a lane for each upstream: one goroutine, one select),
// offers it (Upstream.Relay), has each reply diagnosed, decides (a pure function), settles, and records. The
// reporter turns the notices that settlements leave behind into delivery status notifications.
//
// What always holds: a message that Accept took is relayed, reported or visible in the queue; a settlement and the
// notices it causes are one transaction; the class of the reply decides a recipient's fate (RFC 5321, 4.2.1), the
// diagnosis only explains, delays, holds or pauses; nobody is bounced for a fault of our own.
package relay
