package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/cpu"
	"mailwhy/config"
	"mailwhy/relay/admin"
)

// local are the flags of the commands that speak to a relay on this machine.
type local struct{ file, spool string }

// register adds the flags to a command and those below it.
func (l *local) register(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&l.file, "config", "c", "", "configuration `file` of the relay")
	c.PersistentFlags().StringVar(&l.spool, "spool", "", "spool `directory` of the relay")
}

// load reads what the configuration says of the relay's spool and control socket.
func (l *local) load() (*config.Config, error) {
	src := config.Source{File: l.file, Env: environ(), Local: true}
	if l.spool != "" {
		src.Flags = []config.Flag{{Name: "--spool", Key: "spool.dir", Value: l.spool}}
	}
	cfg, err := config.Load(src)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return cfg, nil
}

// client is a client of the relay that the configuration describes.
func client(cfg *config.Config) *admin.Client { return admin.NewClient(cfg.Admin.Socket) }

// environ is the environment with the settings in it, without the variable that is not one.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, cpu.Switch+"=") })
}
