// Command faults attacks mailwhy's first promise: a message that was answered with 250 is relayed or bounced,
// whatever happens next. It builds the real command and runs it between a client and an upstream of its own
// while it kills the process, cuts the power, fails the disk, damages the files and breaks the dialogue with
// the upstream.
//
//	go run ./scripts/faults quick            some minutes
//	go run ./scripts/faults full             what docs/reliability.md shows; under half an hour
//	go run ./scripts/faults full --only kill9
//	go run ./scripts/faults full --only try  all that begin so: with accept.mode = "try"
//
// It needs root: it mounts file systems of its own and traces the relay. What it starts and mounts lives in a
// mount namespace and a scratch directory of its own, and goes with it, even if it is killed.
//
// Each test has one scenario or several: a spool, a relay, an upstream (the sink) and a client. There are
// three ledgers, and each record is fsynced before its writer goes on: the client's says what was offered and
// what was acknowledged, the sink's what arrived, the bounce ledger what came back as undeliverable. At the
// end they are compared (relay/smtptest/ledger):
//
//	I1 every recipient of an acknowledged message got it, or its sender got a bounce
//	I2 duplicates only after a crash or an ambiguous end of data, at most the concurrency for one crash
//	I3 contents arrive byte for byte
//	I4 what was not acknowledged need not arrive, but never arrives truncated
//	I5 at most one report for each recipient, none to the null sender, none for mail that arrived
//	I6 strangers are refused, and without an upstream nothing starts
//	I7 a restart needs no repair, and what damage has destroyed is named
//	I8 memory and file descriptors stay bounded
//	I9 no log contains a password or a body
//
// The exit status is 0 when all held, 1 when something did not, 2 for a mistake of usage, and 3 when a test
// could not run here and --allow-missing was not given.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The exit statuses.
const (
	exitBroken  = 1
	exitUsage   = 2
	exitMissing = 3
)

// options are the command line.
type options struct {
	full         bool
	only         string
	allowMissing bool
	binary       string
	keep         bool
	limit        time.Duration
}

func main() {
	o, err := parseArgs(os.Args[1:], os.Stderr)
	if err != nil {
		os.Exit(exitUsage)
	}
	if inside, status := enterNamespace(); !inside {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	os.Exit(run(ctx, o, os.Stdout))
}

// parseArgs reads the command line. The form may stand before or after the flags.
func parseArgs(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("faults", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "usage: faults quick|full [flags]")
		fs.PrintDefaults()
	}
	fs.StringVar(&o.only, "only", "", "run the test of this `name` alone, or those that begin with NAME-")
	fs.BoolVar(&o.allowMissing, "allow-missing", false,
		"exit with 0 although a test could not run on this machine")
	fs.StringVar(&o.binary, "binary", "", "use this mailwhy in place of building one")
	fs.BoolVar(&o.keep, "keep", false, "keep the scratch directory")
	fs.DurationVar(&o.limit, "limit", 40*time.Minute, "end after this `time`")
	form := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		form, args = args[0], args[1:]
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if form == "" {
		form = fs.Arg(0)
	}
	o.full = form == "full"
	if form != "full" && form != "quick" {
		fs.Usage()
		return o, errors.New("name a form: quick or full")
	}
	return o, nil
}

// run runs the tests and returns the exit status.
func run(ctx context.Context, o options, out io.Writer) int {
	chosen := choose(o.only)
	if len(chosen) == 0 {
		fmt.Fprintf(out, "not a test: %q; the tests are:\n", o.only)
		for _, t := range tests() {
			fmt.Fprintf(out, "  %-10s %s\n", t.name, t.does)
		}
		return exitUsage
	}
	s, err := newSite(ctx, o, out)
	if err != nil {
		fmt.Fprintln(out, "faults:", err)
		return exitBroken
	}
	defer s.close()
	var results []*result
	for _, t := range chosen {
		results = append(results, s.runTest(ctx, t))
		if ctx.Err() != nil {
			break
		}
	}
	return summarize(out, o, results, ctx.Err())
}

// choose returns the tests to run: the one of a name, and those whose names begin with it and a hyphen.
func choose(only string) []test {
	all := tests()
	if only == "" {
		return all
	}
	return slices.DeleteFunc(all,
		func(t test) bool { return t.name != only && !strings.HasPrefix(t.name, only+"-") })
}
