// Package hint says what was probably meant where a command line is wrong: the nearest subcommand or flag,
// the commands that have a flag, and where help is.
package hint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mailwhy/config/mistake"
)

// Of are the hints for an error that parsing args met, in the order in which they help.
func Of(root *cobra.Command, args []string, err error) (hints []string) {
	c, rest, findErr := root.Find(args)
	if findErr != nil || c == nil {
		c, rest = root, args
	}
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &unknown):
		hints = ofFlag(root, c, unknown)
	case c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-"):
		hints = ofCommand(c, rest[0])
	}
	if c == root {
		return append(hints, root.Name()+" help")
	}
	return append(hints, c.CommandPath()+" --help")
}

// ofCommand names the subcommands that are near to a name.
func ofCommand(c *cobra.Command, name string) []string {
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	if near := mistake.Nearest(name, known); near != "" {
		return []string{near}
	}
	return []string{"the commands are " + strings.Join(known, ", ")}
}

// ofFlag names the flag of c that is nearest, or the commands that have the one that was given.
func ofFlag(root, c *cobra.Command, unknown *pflag.NotExistError) []string {
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" && len(name) == 1 {
		if with := having(root, func(s *cobra.Command) bool { return shorthand(s, name) }); len(with) > 0 {
			return []string{fmt.Sprintf("-%s is a flag of %s", name, strings.Join(with, ", "))}
		}
		return nil
	}
	var known []string
	visit(c, func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := mistake.Nearest(name, known); near != "" {
		return []string{strings.Replace(near, `"`, `"--`, 1)}
	}
	if with := having(root, func(s *cobra.Command) bool { return flag(s, name) }); len(with) > 0 {
		return []string{fmt.Sprintf("--%s is a flag of %s", name, strings.Join(with, ", "))}
	}
	return nil
}

// visit calls f for each flag that a command takes.
func visit(c *cobra.Command, f func(*pflag.Flag)) {
	c.LocalFlags().VisitAll(f)
	c.InheritedFlags().VisitAll(f)
}

func flag(c *cobra.Command, name string) (has bool) {
	visit(c, func(f *pflag.Flag) { has = has || f.Name == name })
	return has
}

func shorthand(c *cobra.Command, name string) (has bool) {
	visit(c, func(f *pflag.Flag) { has = has || f.Shorthand == name })
	return has
}

// maxNamed is how many commands are named.
const maxNamed = 4

// having are the names of the commands for which has holds, without those below them.
func having(root *cobra.Command, has func(*cobra.Command) bool) (names []string) {
	for _, c := range root.Commands() {
		if has(c) || slices.ContainsFunc(c.Commands(), has) {
			names = append(names, c.Name())
		}
	}
	if len(names) > maxNamed {
		names = append(names[:maxNamed], "...")
	}
	return names
}
