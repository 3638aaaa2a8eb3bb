// Accuracy scores the diagnosis engine on labelled replies.
//
//	go run ./scripts/accuracy [-rows FILE] [-part work|aside|all] [-misses]
//
// The rows are split once and for all by a hash of the reply: about 70 % to write rules by ("work") and 30 %
// set aside, to be scored only at the end of a round of work. It prints for each part: strict (equal to the
// label), merged (strict, with Invalid Address and Mailbox Issues taken as one), lenient (the label or one
// of the row's acceptable categories), macro-F1, and how sure the engine was of its answers; for all rows,
// precision and recall by category and the table of confusions. docs/accuracy.md says what was measured.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"mailwhy/diagnose"
)

// labelled is a row of the corpus.
type labelled struct {
	Reply    string              `json:"reply"`
	Category *diagnose.Category  `json:"guide_category"`
	Alt      []diagnose.Category `json:"alt"`
}

// aside reports whether the row is set aside.
func (l labelled) aside() bool {
	h := fnv.New32a()
	io.WriteString(h, l.Reply)
	return h.Sum32()%10 < 3
}

// accepts reports whether c is the label or one of the row's acceptable categories.
func (l labelled) accepts(c diagnose.Category) bool {
	return l.Category != nil && *l.Category == c || slices.Contains(l.Alt, c)
}

// right reports whether c is the label, or acceptable where there is no label.
func (l labelled) right(c diagnose.Category) bool {
	return l.accepts(c) && (l.Category == nil || *l.Category == c)
}

func main() {
	path := flag.String("rows", "diagnose/testdata/replies.jsonl", "labelled replies, one JSON object a line")
	part := flag.String("part", "", "work or aside; all prints the misses of both parts")
	misses := flag.Bool("misses", false,
		"print the rows that are not answered with their label, those set aside only with -part all")
	flag.Parse()
	if err := run(os.Stdout, *path, *part, *misses); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, path, part string, misses bool) error {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return err
	}
	rows, err := read(path)
	if err != nil {
		return err
	}
	var work, aside, all score
	for _, row := range rows {
		d := engine.Diagnose(diagnose.Symptom{Reply: diagnose.ParseReply(row.Reply)})
		if misses && (part == "all" || !row.aside()) && !row.right(d.Category) {
			report(w, row, d)
		}
		all.add(row, d)
		if row.aside() {
			aside.add(row, d)
		} else {
			work.add(row, d)
		}
	}
	switch part {
	case "work":
		work.print(w, "work (70 %)")
	case "aside":
		aside.print(w, "aside (30 %)")
	default:
		work.print(w, "work (70 %)")
		aside.print(w, "aside (30 %)")
		all.print(w, "all")
		all.printCategories(w)
		all.printConfusion(w)
	}
	return nil
}

// report prints a row that was answered otherwise than labelled.
func report(w io.Writer, row labelled, d diagnose.Diagnosis) {
	label, verdict := "none", "MISS"
	if row.Category != nil {
		label = string(*row.Category)
	}
	if row.accepts(d.Category) {
		verdict = "alt "
	}
	fmt.Fprintf(w, "%s want %s %v, got %s by %s (%s, %s)\n     %.230s\n",
		verdict, label, row.Alt, d.Category, d.Rule, d.Basis, d.Confidence, row.Reply)
}

func read(path string) ([]labelled, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rows []labelled
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row labelled
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, len(rows)+1, err)
		}
		rows = append(rows, row)
	}
	return rows, lines.Err()
}

// table lays out columns.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 2, 0, 2, ' ', 0) }
