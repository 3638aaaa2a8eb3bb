package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// flufl scores the data of flufl.bounce by its own table of addresses.
func (s *scorer) flufl() error {
	answers, err := fluflAnswers(filepath.Join(s.dir, "flufl.bounce", "testing", "helpers.py"))
	if err != nil || len(answers) == 0 {
		return err
	}
	all, err := s.files("flufl.bounce/tests/data/*.txt")
	if err != nil {
		return err
	}
	expected, named, invented, written := 0, 0, 0, 0
	for _, f := range all {
		want := answers[filepath.Base(f.file)]
		got := map[string]bool{}
		for _, a := range f.recipients() {
			got[strings.ToLower(a)] = true
		}
		expected += len(want)
		for a := range want {
			named += count(got[a])
			if !got[a] {
				fmt.Printf("  %s: %s is not named\n", filepath.Base(f.file), a)
			}
		}
		for a := range got {
			switch {
			case want[a]:
			case f.inStatus():
				written++
			default:
				invented++
				fmt.Printf("  %s: %s is named, which the table does not\n", filepath.Base(f.file), a)
			}
		}
	}
	fmt.Printf("flufl.bounce: %d files\n", len(all))
	s.target("recipients of its table that are named", named, expected, 0.85)
	s.none("recipients in words that its table does not have", invented, named)
	fmt.Printf("%-52s %4d\n", "others that stand in a delivery status", written)
	return nil
}

// fluflAnswers reads the lines ('detector', 'file.txt', [b'address', ...]) of flufl.bounce's table.
func fluflAnswers(file string) (map[string]map[string]bool, error) {
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	answers, name := map[string]map[string]bool{}, ""
	for word := range strings.SplitSeq(string(b), "'") {
		switch {
		case strings.HasSuffix(word, ".txt"):
			name = word
			if answers[name] == nil {
				answers[name] = map[string]bool{}
			}
		case strings.Contains(word, "@") && name != "" && !strings.ContainsAny(word, " \n"):
			answers[name][strings.ToLower(word)] = true
		}
	}
	return answers, nil
}
