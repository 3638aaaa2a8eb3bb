// Package report turns the notices that settlements leave into delivery status notifications (RFC 3464) and
// stores these as messages of their own. relay/app runs one Reporter and one HeldReports.
//
// In each round the Reporter claims the due notices, plans (plan.go: which reports to make, which notices to
// postpone, which are no longer owed; storm.go: which failures go into a digest), has package dsn compose
// each report, and stores it where the Destination says (write.go, destination.go).
//
// What always holds:
//   - A notice is consumed in the transaction that stores its report, so a crash neither loses nor doubles
//     one.
//   - A report has the null sender, or the configured fallback where an upstream refuses that, and is never
//     itself reported on (RFC 3461, 6.1; RFC 5321, 4.5.5).
//   - A report that no server accepts is held, and given up after a time with an ERROR that names the
//     recipients that it was about (held.go).
package report
