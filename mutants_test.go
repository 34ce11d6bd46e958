package varve_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// families are the promises that tests switch off by the name of their family.
var families = map[string]bool{"W": true, "J": true, "D": true}

// TestMutants_Noticed: each promise that can be switched off is in the table of docs/testing.md, and a test switches
// it.
func TestMutants_Noticed(t *testing.T) {
	page, err := os.ReadFile("docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("internal/mutant/*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range promises(file) {
			seen++
			if len(name) == 2 && families[name[:1]] || name == "None" {
				continue
			}
			if !strings.Contains(string(page), "| "+text+" |") {
				t.Errorf("docs/testing.md names no test that notices %s", text)
			}
			if exec.Command("git", "grep", "-q", "mutant."+name+"\\b", "--", "*_test.go").Run() != nil {
				t.Errorf("no test switches mutant.%s off", name)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d promises were found", seen)
	}
}

// promises are the constants of a file, with their texts.
func promises(file *ast.File) map[string]string {
	out := map[string]string{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				text, _ := strconv.Unquote(lit.Value)
				out[v.Names[0].Name] = text
			}
		}
	}
	return out
}

// TestTesting_Names: each test that docs/testing.md names is there.
func TestTesting_Names(t *testing.T) {
	page, err := os.ReadFile("docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := exec.Command("git", "grep", "-hE", "^func (Test|Fuzz)", "--", "*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((Test|Fuzz)[A-Z][A-Za-z]*(_[A-Za-z]+)*)`")
	for _, m := range named.FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(string(tests), "func "+m[1]+"(") {
			t.Errorf("docs/testing.md names %s, and there is no such test", m[1])
		}
	}
}
