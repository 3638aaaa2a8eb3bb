// Package report turns the notices that settlements leave into delivery status notifications (RFC 3464), and stores
// these as messages of their own. relay/app runs one Reporter and one HeldReports.
//
// A turn of the Reporter reads the due notices, plans (plan.go: which reports to make, what is put off, what is no
// longer owed; storm.go: which failures go into a digest), has each report composed by package dsn, and stores it
// where the Destination says (write.go, destination.go).
//
// What always holds: a notice is consumed in the transaction that stores its report, so a crash neither loses nor
// doubles one; a report has the null sender, or the configured fall-back where an upstream refuses that, and is never
// itself reported on (RFC 3461, 6.1; RFC 5321, 4.5.5); a report that no server accepts is held, and given up after a
// time with an ERROR that names who has not been told (held.go).
package report
