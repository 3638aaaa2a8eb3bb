// Package bounce reads what other mail systems write about mail that they could not deliver: bytes in, what
// was reported out. `mailwhy diagnose --dsn` prints it; the diagnosis of each recipient is package
// diagnose's.
//
// How a bounce is read:
//
//  1. mime.go takes the file apart (RFC 2045; RFC 2046, 5.1), decode.go takes the transfer encodings off
//     (RFC 2045, 6.7 and 6.8), header.go reads fields (RFC 5322, 2.2).
//  2. status.go reads the delivery status (RFC 3464, 2) wherever it stands: in a multipart/report (RFC 6522),
//     in one that was forwarded, under a wrong type, or alone. refusal.go makes of each recipient's fields
//     what diagnose is asked.
//  3. Where there is no delivery status, prose.go reads what the mailer says to a person, recipient by
//     recipient.
//  4. original.go takes from the header of the message that came back what a diagnosis can use as evidence
//     (RFC 2047 for its subject).
//
// annotate.go puts fields behind each recipient's block of a delivery status and leaves every other byte as
// it is.
//
// What always holds: any bytes are a file that can be read, so only the reader given to Read can fail.
// Reading is linear in the file's size and takes memory of a small multiple of it; every bound is in
// limits.go, and a Report names those that a file went beyond. Nothing is invented: an address, a code or a
// wording of a Report stands in the file, but for the 250 of a success without a reply. A line that is not a
// field is passed over, and a missing last boundary ends with the part around it. The package does no other
// I/O, keeps no state between calls, and its functions are safe for concurrent use.
package bounce
