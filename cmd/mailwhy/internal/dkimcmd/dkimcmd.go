// Package dkimcmd is `mailwhy dkim`: it makes a key that signs mail, and says what to publish and to
// configure. It prints and writes the file; relay/sign makes the key.
package dkimcmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/relay/sign"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Usage func(error) error // marks a mistake of whoever typed the command
	Now   func() time.Time
}

// New is the command.
func New(o Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "dkim",
		Short: "Make a key that signs mail",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newKeygen(o))
	return c
}

// keygen is one run of dkim keygen.
type keygen struct {
	domain, selector, kind, file string
}

func newKeygen(o Options) *cobra.Command {
	k := keygen{}
	c := &cobra.Command{
		Use:   "keygen DOMAIN",
		Short: "Make a DKIM key for a domain, and its DNS record",
		Long: `Makes a private key, writes it to a new file that only you can read, and prints the DNS
record to publish and the lines for relay.toml. Publish the record first, and wait until it can be
looked up: mail that is signed before fails its check.

  mailwhy dkim keygen shop.example
  mailwhy dkim keygen shop.example --type ed25519 --selector mail2 --out /etc/mailwhy/mail2.pem

RSA is what every receiver understands. Ed25519 keys are short, but some receivers do not know them yet;
sign with both, each with a selector of its own.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return o.Usage(errors.New("name the domain: mailwhy dkim keygen shop.example"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			k.domain = strings.ToLower(strings.TrimSuffix(args[0], "."))
			if err := k.complete(o.Now()); err != nil {
				return o.Usage(err)
			}
			return k.run(c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&k.selector, "selector", "", "name of the key in DNS (default: mail and the month)")
	c.Flags().StringVar(&k.kind, "type", "rsa", "rsa (2048 bits) or ed25519")
	c.Flags().StringVar(&k.file, "out", "", "`file` for the private key (default: SELECTOR.DOMAIN.pem here)")
	return c
}

// complete checks what was asked for and fills in the rest.
func (k *keygen) complete(now time.Time) error {
	const label = `[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?`
	name := regexp.MustCompile(`^` + label + `(\.` + label + `)*$`)
	if k.selector == "" {
		k.selector = "mail" + now.Format("200601")
		if k.kind != "rsa" {
			k.selector += "-" + k.kind
		}
	}
	switch {
	case !name.MatchString(k.domain) || !strings.Contains(k.domain, "."):
		return fmt.Errorf("%q is not a domain; write it as in shop.example, in ASCII", k.domain)
	case !name.MatchString(k.selector):
		return fmt.Errorf("--selector %q: use small letters, digits and hyphens", k.selector)
	case k.kind != "rsa" && k.kind != "ed25519":
		return fmt.Errorf("--type %q: use rsa or ed25519", k.kind)
	}
	if k.file == "" {
		k.file = k.selector + "." + k.domain + ".pem"
	}
	return nil
}

// run makes the key and says what to do with it.
func (k *keygen) run(w io.Writer) error {
	signer, pem, err := sign.Generate(k.kind)
	if err != nil {
		return err
	}
	record, err := sign.Record(signer)
	if err != nil {
		return err
	}
	if err := writeNew(k.file, pem); err != nil {
		return err
	}
	name := k.selector + "._domainkey." + k.domain
	path, err := filepath.Abs(k.file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `The private key is in %s. Only the relay needs it.

Publish this record:

  type   TXT
  name   %s
  value  %s

In a zone file:

  %s. IN TXT ( %s )

When it can be looked up, add to relay.toml:

  [[dkim]]
  domain = %q
  selector = %q
  key_file = %q
`, k.file, name, record, name, quoted(record), k.domain, k.selector, path)
	return err
}

// writeNew writes a file that is not there yet.
func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is not overwritten: choose another name with --out, "+
			"or another --selector", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// maxString is how long a string of a TXT record may be (RFC 1035, 3.3).
const maxString = 255

// quoted is a text as the strings of a TXT record in a zone file.
func quoted(s string) string {
	var parts []string
	for len(s) > maxString {
		parts, s = append(parts, `"`+s[:maxString]+`"`), s[maxString:]
	}
	return strings.Join(append(parts, `"`+s+`"`), " ")
}
