// Package webhook sends events to the webhooks of the operator's own applications, by Standard Webhooks
// 1.0.0.
//
// relay/app makes one Webhooks, hands it every event (Record), has the lanes and the processor of feedback
// ask it what is owed (Owe), and runs it with the outboxes where the entries are. The operator looks into it
// and tests it through relay/admin.
//
//	Record -> buffer ---+                                     +-> sender -> POST
//	                    +-> eventlog: one log, on the disk ---+-> sender -> POST
//	Owe -> outbox ------+                                     a cursor each, and what failed
//
// # What always holds
//
//   - An event for which Owe made an entry is sent at least once: the entry is in the transaction of the
//     settlement, and is consumed only when the event is in the log and synced. Its webhook-id is derived
//     from the event, so that it is the same however often it is sent.
//   - What comes by Record alone is in the log within bufferFor, and on the disk within syncEvery: kill -9
//     loses what the first leaves, a power cut what the second does.
//   - The log is written whatever becomes of the receivers, so that no entry of the outbox waits for one, no
//     message is kept for one, and no lane waits for one. A receiver that is late reads the log later.
//   - The log is bounded, by age and by size. What a webhook has not had when its part of the log goes is
//     counted, logged, and an event itself.
//   - Events of one message are sent in their order: one that fails holds up the later ones of its message,
//     and none of other messages.
//   - Whatever a receiver answers takes a bounded time and a bounded memory. Its address is checked after it
//     was resolved, for each connection.
//
// # A failing webhook
//
// An event that was not taken waits by a schedule (waits), longer each time. When a webhook fails several
// times in a row, or asks for it, the webhook waits too: one request at a time, at intervals that grow to
// mostPause. The first success has all that waits go at once. One that has failed for disableAfter, or that
// answers 410, is disabled until the operator enables it. Its events are kept as any others.
package webhook
