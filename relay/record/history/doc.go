// Package history remembers the events of the last days in a small database of its own, for the web page:
// counts by category, reasons with their newest example, and the timeline of a message.
//
// It is a recorder (relay.Recorder) and a relay.History. relay/app opens one when the page is on; otherwise
// nothing of it runs and nothing is written.
//
// # What is kept
//
//   - Each event as one row, in the JSON form of package record, newest MaxEvents of them, none older than
//     Keep. A reply is cut at maxReply bytes; the delivery log has the whole.
//   - Tallies: how many events of a kind, category and reason there were in each five minutes, for Keep. They
//     are exact however many rows have gone.
//   - The newest event of each reason, as an example, and when each upstream last took a message.
//
// # What always holds
//
//   - Record never waits. What comes faster than it can be written, or while the file cannot be, is lost,
//     counted, and told in State.
//   - It is off the spool's path: another file, never synced for an event (synchronous=NORMAL). Across kill
//     -9 what was committed is there; across a power cut the last seconds may be missing, and the file is
//     whole.
//   - A file that is damaged is thrown away and begun anew, which the log says: nothing in it is needed.
package history
