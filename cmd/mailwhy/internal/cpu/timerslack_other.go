//go:build !linux

package cpu

// RelaxTimers does nothing: only Linux lets a process choose how late it may be woken.
func RelaxTimers() {}
