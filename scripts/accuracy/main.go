// Accuracy scores the diagnosis engine on labelled replies.
//
//	go run ./scripts/accuracy [-rows FILE] [-part work|aside|all] [-by WHAT] [-misses]
//
// The rows are split once and for all by a hash of the reply: about 70 % to write rules by ("work") and 30 %
// set aside, to be scored only at the end of a round of work. It prints for each part: strict (equal to the
// label), merged (strict, with Invalid Address and Mailbox Issues taken as one), lenient (the label or one
// of the row's acceptable categories), macro-F1, how sure the engine was of its answers, and how often its
// alternatives hold the label where it is wrong; for all rows, precision and recall by category and the
// table of confusions.
//
// With -by reason, scope, owner or action it scores all rows by that field instead, over those that are
// labelled with it. With -by harm it adds up what the errors would cost (cost.go) and prints those that
// harm. docs/accuracy.md says what was measured.
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

// labelled is a row of the corpus. Of the fields after Alt each lists what is acceptable, the best first;
// one that is empty was not labelled.
type labelled struct {
	Reply    string              `json:"reply"`
	Stage    diagnose.Stage      `json:"stage"`
	Category *diagnose.Category  `json:"guide_category"`
	Alt      []diagnose.Category `json:"alt"`
	Reason   []string            `json:"reason"`
	Scope    []string            `json:"scope"`
	Owner    []string            `json:"owner"`
	Action   []string            `json:"action"`
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

// options are the flags.
type options struct {
	path, part, by string
	misses         bool
}

func main() {
	var o options
	flag.StringVar(&o.path, "rows", "diagnose/testdata/replies.jsonl",
		"labelled replies, one JSON object a line")
	flag.StringVar(&o.part, "part", "", "work or aside; all prints the misses of both parts")
	flag.StringVar(&o.by, "by", "category", "what to score: category, reason, scope, owner, action or harm")
	flag.BoolVar(&o.misses, "misses", false,
		"print the rows that are not answered with their label, those set aside only with -part all")
	flag.Parse()
	if err := run(os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, o options) error {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return err
	}
	rows, err := read(o.path)
	if err != nil {
		return err
	}
	answers := make([]diagnose.Diagnosis, len(rows))
	for i, row := range rows {
		reply := diagnose.ParseReply(row.Reply)
		answers[i] = engine.Diagnose(diagnose.Symptom{Stage: row.Stage, Reply: reply})
	}
	switch o.by {
	case "category":
		scoreCategories(w, o, rows, answers)
		return nil
	case "harm":
		printHarm(w, rows, answers)
		return nil
	}
	return scoreField(w, o, rows, answers)
}

// scoreCategories prints the scores of both parts.
func scoreCategories(w io.Writer, o options, rows []labelled, answers []diagnose.Diagnosis) {
	var work, aside, all score
	for i, row := range rows {
		d := answers[i]
		if o.misses && (o.part == "all" || !row.aside()) && !row.right(d.Category) {
			report(w, row, d)
		}
		all.add(row, d)
		if row.aside() {
			aside.add(row, d)
		} else {
			work.add(row, d)
		}
	}
	switch o.part {
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
