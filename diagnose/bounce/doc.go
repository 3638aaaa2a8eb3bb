// Package bounce reads what other mail systems write about mail that they could not deliver: bytes in, what
// was reported out. `mailwhy diagnose --dsn` prints it; the diagnosis of each recipient is package
// diagnose's.
//
// How a mail is read:
//
//  1. mime.go takes the file apart (RFC 2045; RFC 2046, 5.1), decode.go takes the transfer encodings off
//     (RFC 2045, 6.7 and 6.8), header.go reads fields (RFC 5322, 2.2).
//  2. classify.go decides what the mail is, before anything of it is taken for a reason: a complaint (RFC
//     5965), a delivery status (RFC 3464, RFC 6533), a read receipt (RFC 8098), an automatic answer (RFC
//     3834), a bounce in words, a person's answer, or none of these.
//  3. status.go reads the delivery status wherever it stands: in a multipart/report (RFC 6522), in one that
//     was forwarded, under a wrong type, or alone. refusal.go makes of each recipient's fields what diagnose
//     is asked. complaint.go reads a feedback report.
//  4. Where no delivery status names a recipient, prose.go reads what the mailer says to a person. words.go
//     cuts off the message that came back, recipients.go finds the recipients and what is said about each,
//     address.go reads an address, and writers.go is the table of the mailers' phrases.
//  5. original.go takes from the header of the message that came back what a diagnosis can use as evidence
//     (RFC 2047 for its subject).
//  6. keys.go searches the whole body for what tells which message the mail is about: Received fields of
//     ours, Message-IDs, envelope ids.
//
// annotate.go puts fields behind each recipient's block of a delivery status and leaves every other byte as
// it is.
//
// A new mailer is mostly a line of writers.go and a sample in testdata/writers.txtar.
//
// What always holds: any bytes are a file that can be read, so only the reader given to Read can fail.
// Reading is linear in the file's size and takes memory of a small multiple of it; every bound is in
// limits.go, and a Report names those that a file went beyond. Nothing is invented: an address, a code or a
// wording of a Report stands in the file, but for the 250 of a success without a reply and the bare "failed"
// or "delayed" where nothing is said of why. What came back is evidence and a place for keys; its words and
// addresses are never those of the report. A line that is not a field is passed over, and a missing last
// boundary ends with the part around it. Nothing that is read proves who wrote it. The package does no other
// I/O, keeps no state between calls, and its functions are safe for concurrent use.
package bounce
