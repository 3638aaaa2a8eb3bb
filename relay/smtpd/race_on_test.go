//go:build race

package smtpd

// raceEnabled: the race detector multiplies memory, so limits on it are not looked at.
const raceEnabled = true
