// Package relaycmd has what the commands for a relay need of the program.
package relaycmd

import (
	"github.com/spf13/cobra"

	"mailwhy/config"
)

// Options are what a command that finds its relay by flags needs of the program. All are required.
type Options struct {
	Usage func(error) error              // marks a mistake of whoever typed the command
	Flags func(*cobra.Command)           // adds the flags that find the relay
	Load  func() (*config.Config, error) // reads the configuration that the flags choose
}
