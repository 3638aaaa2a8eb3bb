package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/term"
)

func newHashPasswordCommand() *cobra.Command {
	cost := bcrypt.DefaultCost
	c := &cobra.Command{
		Use:   "hash-password [USER]",
		Short: "Make an entry for the users file",
		Long: `Reads a password and prints its bcrypt hash, or, with a USER, the whole line for
access.users_file.

At a terminal it asks for the password twice without showing it; otherwise the password is the first
line of standard input. It is never taken from the command line, where others could see it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if cost < bcrypt.MinCost || cost > bcrypt.MaxCost {
				return &exitError{exitUsage,
					fmt.Errorf("--cost %d is not between %d and %d", cost, bcrypt.MinCost, bcrypt.MaxCost)}
			}
			prefix := ""
			if len(args) == 1 {
				if strings.ContainsAny(args[0], ": \t\r\n#") || args[0] == "" {
					return &exitError{exitUsage,
						fmt.Errorf("not a valid user name: %q has a space, a colon or a # in it", args[0])}
				}
				prefix = args[0] + ":"
			}
			password, err := readPassword(c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			hash, err := bcrypt.GenerateFromPassword(password, cost)
			if errors.Is(err, bcrypt.ErrPasswordTooLong) {
				err = errors.New("the password is longer than 72 bytes, of which bcrypt would read no more")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s%s\n", prefix, hash)
			return err
		},
	}
	c.Flags().IntVar(&cost, "cost", cost, "`work` of the hash: each step doubles the time that a login takes")
	return c
}

// readPassword asks for a password at a terminal, else reads one line.
func readPassword(in io.Reader, prompt io.Writer) ([]byte, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return askPassword(f, prompt)
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return nil, errors.New("standard input holds no password")
	}
	return []byte(line), nil
}

// askPassword asks twice, without showing what is typed.
func askPassword(terminal *os.File, prompt io.Writer) ([]byte, error) {
	// Ctrl-C must not leave a terminal without echo
	if state, err := term.GetState(int(terminal.Fd())); err == nil {
		defer beforeDeath(func() { term.Restore(int(terminal.Fd()), state) })()
	}
	var typed [2]string
	for i, text := range []string{"Password: ", "Again: "} {
		fmt.Fprint(prompt, text)
		b, err := term.ReadPassword(int(terminal.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return nil, err
		}
		typed[i] = string(b)
	}
	switch {
	case typed[0] == "":
		return nil, errors.New("the password is empty")
	case typed[0] != typed[1]:
		return nil, errors.New("the two passwords differ")
	}
	return []byte(typed[0]), nil
}
