// Package apptest runs a whole relay on loopback in the tests of what works with one: commands, the page, the
// documentation.
package apptest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/app"
)

// Configure writes a configuration with these tables to a file, and loads it. The host is relay.test, the
// spool is the directory of the file, and mail is taken at a free port of 127.0.0.1. All of it goes with the
// test.
func Configure(t testing.TB, tables string) (file string, cfg *config.Config) {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // not TempDir: the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file = filepath.Join(dir, "relay.toml")
	text := fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[[listen]]\n"+
		"address = \"127.0.0.1:0\"\n%s", dir, tables)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.Load(config.Source{File: file}); err != nil {
		t.Fatal(err)
	}
	return file, cfg
}

// Run runs a relay until stop is called, or the test ends. It takes mail when Run returns. Its delivery log
// goes to stdout, if the configuration does not say otherwise; a nil log discards the operational one.
func Run(t testing.TB, cfg *config.Config, stdout io.Writer, log *slog.Logger) (r *app.Relay, stop func()) {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r, err := app.New(app.Options{Config: cfg, Stdout: stdout, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	<-r.Ready()
	return r, stop
}
