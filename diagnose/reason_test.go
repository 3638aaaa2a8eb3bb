package diagnose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReasonConstants holds that the guide defines every reason that the code knows by name. It reads the
// source, so that no constant can be left out here.
func TestReasonConstants(t *testing.T) {
	known := newEngine(t).Reasons()
	seen := 0
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
				return false
			}
			seen++
			id, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(known, func(r ReasonInfo) bool { return r.ID == Reason(id) }) {
				t.Errorf("%s: the guide does not define the reason %q", spec.Names[0].Name, id)
			}
			return false
		})
	}
	if seen < 20 {
		t.Errorf("only %d constants were seen", seen)
	}
}
