package cpu

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestMain lets the scripts run printTimerSlack in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"timerslack": printTimerSlack})
}

// TestScripts runs testdata/script/*.txtar.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// printTimerSlack is the command timerslack of the scripts: it relaxes the timers as serve does, and says
// how often it began, the slack of a new thread, its arguments, and what is left of the mark in the
// environment.
func printTimerSlack() {
	fmt.Println("begun")
	RelaxTimers()
	runtime.LockOSThread() // the others go on in threads of their own
	slack := make(chan int)
	go func() {
		runtime.LockOSThread()
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			n = -1
		}
		slack <- n
	}()
	fmt.Println("slack", <-slack, "arguments", os.Args[1:], "mark", os.Getenv(slackGiven))
}
