// Bouncesets reads public collections of bounce mail and says how many of them package bounce understands:
// whom a report names, whether it shows what message it is about, and what is wrongly taken for a bounce. The
// collections are not part of this repository; scripts/bounce-sets.sh says where they are from.
//
// A collection without an answer sheet (sisimai's) is scored by whether a recipient is named at all; flufl's
// has one, and is scored by it. With -list it prints what was found in each file, to be read by a person.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"mailwhy/diagnose/bounce"
)

func main() {
	list := flag.Bool("list", false, "print what is found in each file")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: bouncesets [-list] DIR")
		os.Exit(2)
	}
	s := scorer{dir: flag.Arg(0), list: *list}
	if err := s.all(); err != nil {
		fmt.Fprintln(os.Stderr, "bouncesets:", err)
		os.Exit(1)
	}
	if s.missed > 0 {
		fmt.Printf("%d targets are missed\n", s.missed)
		os.Exit(1)
	}
}

// scorer scores the collections below a directory.
type scorer struct {
	dir    string
	list   bool
	missed int // targets
	read   int // collections
}

func (s *scorer) all() error {
	for _, score := range []func() error{s.setOfEmails, s.flufl, s.others} {
		if err := score(); err != nil {
			return err
		}
	}
	if s.read == 0 {
		return fmt.Errorf("there is no collection in %s", s.dir)
	}
	return nil
}

// target prints a figure with what it should be.
func (s *scorer) target(what string, got, of int, least float64) {
	verdict := "ok"
	if of == 0 || float64(got) < least*float64(of) {
		verdict = "MISSED"
		s.missed++
	}
	fmt.Printf("%-52s %4d of %4d  %5.1f %%  (at least %.0f %%) %s\n", what, got, of, percent(got, of),
		100*least, verdict)
}

// none prints a figure that should be 0.
func (s *scorer) none(what string, got, of int) {
	verdict := "ok"
	if of == 0 || got > 0 {
		verdict = "MISSED"
		s.missed++
	}
	fmt.Printf("%-52s %4d of %4d  (none) %s\n", what, got, of, verdict)
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// found is what was read in one file.
type found struct {
	file   string
	report bounce.Report
}

// isBounce reports whether the file was taken for a bounce.
func (f *found) isBounce() bool {
	k := f.report.Kind
	return k == bounce.KindFailure || k == bounce.KindDelay || k == bounce.KindSuccess
}

// recipients are those that are named.
func (f *found) recipients() []string {
	var list []string
	for _, n := range f.report.Notifications {
		for _, r := range n.Recipients {
			if r.Address != "" {
				list = append(list, r.Address)
			}
			if r.Original != "" {
				list = append(list, r.Original)
			}
		}
	}
	return list
}

// inStatus reports whether the recipients stand in a delivery status.
func (f *found) inStatus() bool {
	return len(f.report.Notifications) > 0 && f.report.Notifications[0].Source == bounce.SourceStatus
}

// count is 1 for what is so, to be added.
func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// print prints what was found.
func (f *found) print() {
	fmt.Printf("%-34s %-10s %q", filepath.Base(f.file), f.report.Kind, f.recipients())
	for _, n := range f.report.Notifications {
		for _, r := range n.Recipients {
			fmt.Printf(" | %.150q", strings.TrimSpace(r.Symptom.Reply.Raw+" "+r.Symptom.Text))
		}
	}
	for _, k := range f.report.Keys {
		fmt.Printf(" %s:%s", k.Where, k.Value)
	}
	fmt.Println()
}

// files reads the files of a pattern below the directory.
func (s *scorer) files(pattern string) ([]found, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var list []found
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		list = append(list, found{name, bounce.Parse(b)})
		if s.list {
			list[len(list)-1].print()
		}
	}
	if len(list) > 0 {
		s.read++
	}
	return list, nil
}

// others counts the kinds in smaller collections, each named after what it holds.
func (s *scorer) others() error {
	for _, c := range []struct {
		name, pattern string
		want          bounce.Kind
	}{
		{"kumomta: delivery reports", "kumomta/rfc3464/*.eml", bounce.KindFailure},
		{"kumomta: complaints", "kumomta/rfc5965/*.eml", bounce.KindComplaint},
		{"hyvor/relay: delivery reports", "hyvor-relay/dsn_*.txt", bounce.KindFailure},
		{"hyvor/relay: complaints", "hyvor-relay/arf*.txt", bounce.KindComplaint},
		{"sisimai/set-of-emails: not", "set-of-emails/maildir/not/is-not-*.eml", bounce.KindNone},
	} {
		files, err := s.files(c.pattern)
		if err != nil {
			return err
		}
		right := 0
		for _, f := range files {
			right += count(f.report.Kind == c.want)
		}
		if len(files) > 0 {
			fmt.Printf("%-52s %4d of %4d are of kind %s\n", c.name, right, len(files), c.want)
		}
	}
	return nil
}
