package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal is a context that ends at SIGINT or SIGTERM, or when stop is called. Only a command with
// something to finish or to remove asks for it: serve, practice and demo. Every other one leaves the signals
// to the system, so that it dies of them at once, whatever it computes or waits for, with the status that a
// shell expects of that.
func untilSignal(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// untilFirstSignal is like untilSignal, but the second signal ends the process at once.
func untilFirstSignal(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	ctx, stop = untilSignal(ctx)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// beforeDeath runs cleanup when SIGINT or SIGTERM comes, before the process dies of it, until stop is called.
func beforeDeath(cleanup func()) (stop func()) {
	signals, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			cleanup()
			signal.Reset(s)
			syscall.Kill(os.Getpid(), s.(syscall.Signal))
		case <-stopped:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(stopped)
	}
}
