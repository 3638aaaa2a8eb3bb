package cpu

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how late the kernel may wake the relay from a timed sleep. Nothing that it waits for is
// measured in less.
const timerSlack = time.Millisecond

// slackGiven is the variable that tells the process started by RelaxTimers that it is that one.
const slackGiven = "_MAILWHY_TIMER_SLACK"

// RelaxTimers gives the process timerSlack, where the kernel's default is 50 microseconds. It is for the
// first lines of main: it executes the program again.
//
// The runtime's thread that watches over the others (sysmon) sleeps for 20 microseconds at a time for as
// long as some of them block in system calls, as the writer of a spool does many times a second. With one
// session these wake-ups were a sixth of all CPU time; what they are for, to give the processor of a
// blocked thread to another one, is soon enough a millisecond later.
//
// The slack is a thread's own, and inherited by the threads that it starts (PR_SET_TIMERSLACK in prctl(2)).
// sysmon is started before main, and to change that of another thread takes a privilege. So the process
// sets its own and executes itself again, which keeps the slack, the process id, and what is open.
func RelaxTimers() {
	if os.Getenv(slackGiven) != "" {
		os.Unsetenv(slackGiven)
		return
	}
	if off() {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || time.Duration(slack) >= timerSlack {
		return
	}
	file, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return
	}
	syscall.Exec(file, os.Args, append(os.Environ(), slackGiven+"=1")) // returns only if it fails
}
