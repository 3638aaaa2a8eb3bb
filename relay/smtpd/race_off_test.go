//go:build !race

package smtpd

// raceEnabled: see race_on_test.go.
const raceEnabled = false
