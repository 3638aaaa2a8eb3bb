package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// printTimerSlack is the command timerslack of the scripts: it relaxes the timers as serve does, and says how often it began, the slack
// of a new thread, its arguments, and what is left of the mark in the environment.
func printTimerSlack() {
	fmt.Println("begun")
	relaxTimers()
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
