package main

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/dsn"
)

func newDSNCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dsn",
		Short: "Look at the bounces before they go out",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newDSNPreviewCommand(), newDSNCheckCommand())
	return c
}

// newDSNPreviewCommand prints a bounce about made-up mail.
func newDSNPreviewCommand() *cobra.Command {
	var template, kind, part, hostname string
	c := &cobra.Command{
		Use:   "preview",
		Short: "Print a bounce about made-up mail",
		Long: `Prints a bounce about made-up mail, as dsn.template_file makes it look, or as it looks without
one.

  mailwhy dsn preview                              the whole message, to be opened by a mail reader
  mailwhy dsn preview --part html > bounce.html    the page, to be opened by a browser
  mailwhy dsn preview --template F --part text     the text, from a template of your own

A template that fails is an error here, with exit status 2; a running relay would use the built-in
one instead.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			composer, err := sampleComposer(template, hostname)
			if err == nil && !slices.Contains(dsn.Kinds(), kind) {
				err = fmt.Errorf("--kind %s: not a kind of bounce; use one of %s",
					kind, strings.Join(dsn.Kinds(), ", "))
			}
			var out string
			if err == nil {
				out, err = preview(composer, kind, part)
			}
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			_, err = fmt.Fprint(c.OutOrStdout(), out)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&template, "template", "", "template `file`; the built-in one when not given")
	f.StringVar(&kind, "kind", "failed", "one of "+strings.Join(dsn.Kinds(), ", "))
	f.StringVar(&part, "part", "all", "one of all, subject, text, html")
	f.StringVar(&hostname, "hostname", "relay.example.com", "name of the relay in the bounce")
	return c
}

// newDSNCheckCommand tries a template file on a bounce of each kind.
func newDSNCheckCommand() *cobra.Command {
	var template string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check a template file for bounces",
		Long: "Reads a template file and fills it in for each kind of bounce. " +
			"The exit status is 2 when it has a mistake.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := sampleComposer(template, "relay.example.com"); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: ok\n", template)
			return err
		},
	}
	c.Flags().StringVar(&template, "template", "", "template `file`")
	if err := c.MarkFlagRequired("template"); err != nil {
		panic(err) // the flag stands one line above
	}
	return c
}

// sampleComposer makes a composer with a template file, or without one when the name is empty.
func sampleComposer(file, hostname string) (*dsn.Composer, error) {
	o := dsn.Options{
		Hostname: hostname, From: "postmaster@" + hostname, Key: []byte("preview"),
		ReturnLimit: int64(config.Default().DSN.ReturnLimit), Log: slog.Default(),
	}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if o.Templates, err = dsn.ParseTemplates(dsn.English, file, string(b)); err != nil {
			return nil, err
		}
	}
	return dsn.New(o)
}

// preview is a part of a bounce.
func preview(c *dsn.Composer, kind, part string) (string, error) {
	if part == "all" {
		d, err := c.Preview(kind)
		if err != nil {
			return "", err
		}
		return string(d.Content), nil
	}
	subject, text, html, err := c.PreviewWords(kind)
	if err != nil {
		return "", err
	}
	switch part {
	case "subject":
		return subject + "\n", nil
	case "text":
		return text, nil
	case "html":
		return html, nil
	}
	return "", fmt.Errorf("--part %s: not a part; use one of all, subject, text, html", part)
}
