// Command bench measures mailwhy beside Postfix, both as smarthost relays on loopback, in one run.
//
//	go run ./scripts/bench                         all cases, five rounds
//	go run ./scripts/bench -cases 4k-10 -rounds 9  some of them
//	go run ./scripts/bench -scale 0.02 -rounds 1   a quick run to see that everything works
//
// Each round runs each case through each relay in turn, so that a noisy machine is noisy for all of them; the
// figures are medians over the rounds, and what counts is the ratio to Postfix. Each run starts a fresh relay
// in a fresh directory, warms it up, loads it with relay/smtptest's generator, and waits until the sink has
// every message. The run is void unless the sink got each message exactly once and unchanged. "direct" is the
// load straight into the sink: the ceiling, which must be far above the rest.
//
// Postfix is unpacked from its Debian packages into the scratch directory and runs there with the
// configuration of postfix.go, defaults but for what a relay on loopback needs; no system service is started.
// It needs root. Without a syslog daemon it writes no log, which is to its advantage. mailwhy runs with the
// flags that are needed, and with its delivery log.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	rounds     int
	scale      float64
	cases      *regexp.Regexp
	relays     []string
	dir        string // scratch
	packages   string // directory of .deb files
	pipelining bool
	strace     bool
	keep       bool
	settle     time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseOptions(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// everything is the pattern of all cases but those that are to be asked for.
const everything = "."

// parseOptions reads the command line.
func parseOptions(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 5, "rounds of all cases")
	f.Float64Var(&o.scale, "scale", 1, "share of each case's messages or time")
	pattern := f.String("cases", everything, "regular expression of the cases' names: "+caseNames())
	relays := f.String("relays", "direct,postfix,mailwhy",
		"which to run, and in which order; mailwhy=PATH is another binary of it, mailwhy+VARIANT has more "+
			"switched on: "+variantNames())
	f.StringVar(&o.dir, "dir", "",
		"where to make the scratch directory: on a disk, not tmpfs (default: the system's temporary one)")
	f.StringVar(&o.packages, "packages", "", "directory with postfix's .deb files (apt-get download)")
	f.BoolVar(&o.pipelining, "pipelining", false, "let the load use PIPELINING; most applications do not")
	f.BoolVar(&o.strace, "fsyncs", true, "count fsyncs in a separate short run, if strace is installed")
	f.BoolVar(&o.keep, "keep", false, "keep the scratch directory")
	f.DurationVar(&o.settle, "settle", 5*time.Minute, "how long mail may take to arrive after the load")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.relays = strings.Split(*relays, ",")
	var err error
	o.cases, err = regexp.Compile(*pattern)
	return o, err
}

// run is the whole measurement.
func run(ctx context.Context, o *options) error {
	remove, err := o.scratch()
	if err != nil {
		return err
	}
	defer remove()
	relays, err := o.prepare(ctx)
	if err != nil {
		return err
	}
	cases := slices.DeleteFunc(allCases(), func(c testCase) bool {
		return !o.cases.MatchString(c.name) || c.lasts > 0 && o.cases.String() == everything
	})
	fmt.Printf("%d cores, %s, Linux %s, scratch in %s\n",
		runtime.NumCPU(), runtime.Version(), kernel(), o.dir)
	all := make(results)
	for round := range o.rounds {
		for _, c := range cases {
			for i := range relays {
				r := relays[(i+round)%len(relays)] // nobody is always the first
				if c.refused && (r.name() == "direct" || strings.HasPrefix(r.name(), "mailwhy+try")) {
					continue
				}
				m, err := o.measure(ctx, c, r)
				if err != nil {
					return fmt.Errorf("%s through %s: %w", c.name, r.name(), err)
				}
				all.add(c.name, r.name(), m)
				fmt.Printf("round %d  %-8s %-10s %s\n", round+1, c.name, r.name(), m)
			}
		}
	}
	if o.strace {
		if err := o.countFsyncs(ctx, relays, all); err != nil {
			return err
		}
	}
	all.print(os.Stdout, cases, relays)
	return nil
}

// kernel is the version of the kernel.
func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// scratch makes a directory of our own in the one that was given, and returns what removes it.
func (o *options) scratch() (remove func(), err error) {
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o755); err != nil {
			return nil, err
		}
	}
	if o.dir, err = os.MkdirTemp(o.dir, "mailwhy-bench-"); err != nil {
		return nil, err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, err
	}
	remove = func() {
		if !o.keep {
			os.RemoveAll(o.dir)
		}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(o.dir, &fs); err == nil && fs.Type == 0x01021994 { // TMPFS_MAGIC
		remove()
		return nil, fmt.Errorf(
			"%s is on tmpfs, where an fsync costs nothing: choose another with -dir", o.dir)
	}
	return remove, os.Chmod(o.dir, 0o755) // Postfix's processes must get in
}

// prepare readies the relays. One that cannot run here is left out, with a word.
func (o *options) prepare(ctx context.Context) (relays []relay, err error) {
	for _, name := range o.relays {
		var r relay
		kind, path, _ := strings.Cut(name, "=")
		switch product, _, _ := strings.Cut(kind, "+"); product {
		case "direct":
			r = direct{}
		case "postfix":
			r, err = unpackPostfix(ctx, filepath.Join(o.dir, "postfix"), o.packages)
		case "mailwhy":
			r, err = buildMailwhy(ctx, o.dir, kind, path)
		default:
			err = fmt.Errorf("not a relay: %q", name)
		}
		if errors.Is(err, errUnavailable) {
			fmt.Println("skipping:", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		relays = append(relays, r)
	}
	return relays, nil
}
