package mistake

import (
	"fmt"
	"slices"
	"strings"
)

// Nearest suggests the candidate that name was probably meant to be; "" if none is near.
func Nearest(name string, candidates []string) string {
	best, distance := "", max(2, len(name)/5)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		plain := c
		if i, j := strings.IndexByte(c, '['), strings.IndexByte(name, '['); i >= 0 && j == i {
			if k := strings.IndexByte(name, ']'); k > 0 {
				plain = c[:i] + name[i:k+1] + c[strings.IndexByte(c, ']')+1:]
			}
		}
		if d := EditDistance(name, plain); d < distance {
			best, distance = plain, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// EditDistance is the number of insertions, deletions and replacements that turn a into b.
func EditDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, change)
		}
	}
	return row[len(b)]
}
