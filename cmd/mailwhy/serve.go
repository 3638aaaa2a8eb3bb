package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/cpu"
	"mailwhy/config"
	"mailwhy/relay/app"
	"mailwhy/relay/lifecycle/systemd"
)

// settings are the flags that choose a configuration.
type settings struct {
	file  string
	flags map[string]*string // by the name of the flag
}

// settingFlags are the flags that stand for a configuration key each.
var settingFlags = []struct{ name, key, usage string }{
	{"listen", "listen", "address to take mail in at, `host:port` or unix:PATH"},
	{"upstream", "upstream",
		"where mail goes, as a `URL`: smtp://user@mail.example.com:587?tls=starttls " +
			"(tls = none, starttls, implicit; smtps:// is implicit)"},
	{"password-file", "upstream.default.password_file", "`file` that holds the upstream's password"},
	{"hostname", "hostname", "own `name`, in EHLO, Received and bounces"},
	{"spool", "spool.dir", "`directory` where mail waits"},
	{"delivery-log", "delivery_log.file", "`file` of the delivery log, - for standard output"},
	{"retry", "retry.schedule", "`delays` between attempts: '1m, 5m*2, 30m, 1h*6, 4h'"},
	{"expire-after", "retry.expire_after", "`time` after which a message is given up: 5d"},
}

// register adds the flags to a command.
func (s *settings) register(c *cobra.Command) {
	c.Flags().StringVarP(&s.file, "config", "c", "", "configuration `file` (see relay.example.toml)")
	s.flags = map[string]*string{}
	for _, f := range settingFlags {
		s.flags[f.name] = c.Flags().String(f.name, "", f.usage)
	}
}

// source is the configuration's source, of the flags that were given.
func (s *settings) source(c *cobra.Command) config.Source {
	src := config.Source{File: s.file, Env: environ()}
	for _, f := range settingFlags {
		if c.Flags().Changed(f.name) {
			src.Flags = append(src.Flags,
				config.Flag{Name: "--" + f.name, Key: f.key, Value: *s.flags[f.name]})
		}
	}
	return src
}

func newServeCommand() *cobra.Command {
	var s settings
	var strict bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the relay",
		Long: `Takes mail, relays it to the upstream, explains what is refused and bounces what fails.

On SIGTERM it first says that it is not ready (shutdown_delay), then takes no more mail and sends what
waits (shutdown_drain), finishes what is under way (shutdown_grace), and ends with status 0 and a report
of what is left. A second SIGTERM ends it at once, and nothing is lost either. On SIGHUP it reads the
configuration again.

With --check it does at the start, and before each reload, what mailwhy check does without --dns and
--connect, and does not start, or keeps the old configuration, where that finds a mistake. The exit status
is then 2, as that of check.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			defer atSecondSignal(ctx, c.ErrOrStderr())()
			return serve(ctx, loader{s.source(c), strict}, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	s.register(c)
	c.Flags().BoolVar(&strict, "check", false, "refuse to start where mailwhy check finds a mistake")
	return c
}

// loader reads the configuration.
type loader struct {
	source config.Source
	strict bool // as mailwhy check
}

func (l loader) load() (*config.Config, error) {
	cfg, err := config.Load(l.source)
	if err == nil && l.strict {
		err = app.Check(cfg)
	}
	return cfg, err
}

// serve runs a relay until ctx ends.
func serve(ctx context.Context, src loader, stdout, stderr io.Writer) error {
	cfg, err := src.load()
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	log := newLogger(&cfg.Log, stderr)
	r, err := newRelay(cfg, stdout, log)
	if err != nil {
		return err
	}
	limitMemory()
	signal.Ignore(syscall.SIGPIPE) // a closed pipe on standard output is a write error to report, not a death
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	manager := systemd.New(r.Life(), log)
	go reloadOn(ctx, hup, src, r, manager, log)
	go cpu.Follow(ctx, r.Busy)
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go manager.Run(ended, r.Ready(), ctx.Done())
	err = r.Run(ctx)
	if left := r.Left(); left != nil && cfg.Log.Format == "text" {
		left.Write(stderr)
	}
	return err
}

// atSecondSignal ends the process at once when a signal comes after the one that ended ctx, until stop is
// called. As the first process of a container it would not die of the signal itself.
func atSecondSignal(ctx context.Context, stderr io.Writer) (stop func()) {
	signals, over := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
		case <-over:
			return
		}
		select { // the first, which has ended ctx
		case <-signals:
		case <-over:
			return
		}
		select {
		case <-signals:
			fmt.Fprintln(stderr, "mailwhy: a second signal: ended at once; what was under way is tried again")
			os.Exit(exitFailure)
		case <-over:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(over)
	}
}

// newRelay makes a relay. A mistake in the configuration has the exit status of one.
func newRelay(cfg *config.Config, stdout io.Writer, log *slog.Logger) (*app.Relay, error) {
	r, err := app.New(app.Options{Config: cfg, Stdout: stdout, Log: log})
	if _, mistake := errors.AsType[*app.ConfigError](err); mistake {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return r, err
}

// limitMemory suits the garbage collector to a small container, unless the environment says otherwise:
// collecting a third more often than Go does by itself costs a few per cent of CPU and saves a tenth of the
// memory. The soft limit is far above what the relay needs, since one that is near makes the collector run
// without end.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(96 << 20)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75)
	}
	debug.FreeOSMemory() // reading the rules left garbage behind, which an idle relay would keep for minutes
}

// reloadOn loads the configuration again at each signal. A mistake in it leaves the old one in force.
func reloadOn(ctx context.Context, hup <-chan os.Signal, src loader, r *app.Relay,
	manager *systemd.Notifier, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		done := manager.Reloading()
		cfg, err := src.load()
		if err == nil {
			err = r.Reload(cfg)
		}
		done(err)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				log.Error("configuration not reloaded: the old one stays in force", "mistake",
					strings.TrimSpace(line))
			}
			continue
		}
		log.Info("configuration reloaded")
	}
}

// newLogger makes the operational log.
func newLogger(c *config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
