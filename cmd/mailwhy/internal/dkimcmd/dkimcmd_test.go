package dkimcmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/sign"
)

// mistake marks a mistake in usage.
type mistake struct{ error }

// keygenOf runs the command, and returns what it printed.
func keygenOf(args ...string) (string, error) {
	c := New(Options{
		Usage: func(err error) error { return mistake{err} },
		Now:   func() time.Time { return time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC) },
	})
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SilenceUsage = true
	c.SetArgs(append([]string{"keygen"}, args...))
	err := c.Execute()
	return out.String(), err
}

// The file holds the key of the record, whole and in strings that fit into a zone file, and nobody else can
// read it.
func TestKeygen(t *testing.T) {
	for _, kind := range []string{"rsa", "ed25519"} {
		file := filepath.Join(t.TempDir(), "key.pem")
		out, err := keygenOf("Shop.Example.", "--type", kind, "--out", file, "--selector", "s1")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := sign.ParseKey(b)
		if err != nil {
			t.Fatal(err)
		}
		record, err := sign.Record(signer)
		if err != nil || !strings.Contains(out, "value  "+record+"\n") ||
			!strings.Contains(out, "name   s1._domainkey.shop.example\n") {
			t.Errorf("%s: the record is not there:\n%s", kind, out)
		}
		var joined string
		for _, m := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(
			out[strings.Index(out, "IN TXT"):strings.Index(out, " )")], -1) {
			if len(m[1]) > 255 {
				t.Errorf("%s: a string of %d bytes", kind, len(m[1]))
			}
			joined += m[1]
		}
		if joined != record {
			t.Errorf("%s: the zone file has %q", kind, joined)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", kind, info.Mode(), err)
		}
		if _, err := keygenOf("shop.example", "--out", file); err == nil ||
			!strings.Contains(err.Error(), "is not overwritten") {
			t.Errorf("%s: a second key in its place: %v", kind, err)
		}
		if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: the key was changed (%v)", kind, err)
		}
	}
}

func TestKeygenMistakes(t *testing.T) {
	for _, args := range [][]string{
		{}, {"shop"}, {"shop.example", "x"}, {"shöp.example"}, {"shop-.example"},
		{"shop.example", "--type", "dsa"}, {"shop.example", "--selector", "a b"},
	} {
		_, err := keygenOf(args...)
		if _, usage := errors.AsType[mistake](err); !usage {
			t.Errorf("%q: %v", args, err)
		}
	}
}
