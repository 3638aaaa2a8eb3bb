//go:build !linux

package startup

import "runtime/debug"

// Forget gives back to the system the garbage of the start.
func Forget() { debug.FreeOSMemory() }
