package varve_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	docPath   = regexp.MustCompile("`([a-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+\\.(?:go|sh|md|csv|svg))`")
	docTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z]*(?:_[A-Za-z]+)*)(_?\\*?)`")
	docLink   = regexp.MustCompile(`\]\(([^):#]+)(?:#([a-z0-9-]+))?\)`)
	docTarget = regexp.MustCompile("(?m)(?:`|^    )make ([a-z][a-z-]*)")
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// checkPage lists the names in a page that do not exist: files, tests, links and their anchors, targets of make.
func checkPage(page, text, tests, makefile string) (wrong []string) {
	miss := func(format string, args ...any) { wrong = append(wrong, page+": "+fmt.Sprintf(format, args...)) }
	for _, m := range docPath.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			miss("there is no file %s", m[1])
		}
	}
	for _, m := range docTest.FindAllStringSubmatch(text, -1) {
		end := "("
		if strings.HasSuffix(m[2], "*") {
			end = strings.TrimSuffix(m[2], "*")
		}
		if !strings.Contains(tests, "func "+m[1]+end) {
			miss("there is no test %s", m[1]+m[2])
		}
	}
	for _, m := range docLink.FindAllStringSubmatch(text, -1) {
		to, err := os.ReadFile(filepath.Join(filepath.Dir(page), m[1]))
		if err != nil {
			miss("the link %s leads nowhere", m[1])
		} else if m[2] != "" && !strings.Contains(anchors(string(to)), " "+m[2]+" ") {
			miss("%s has no heading for #%s", m[1], m[2])
		}
	}
	for _, m := range docTarget.FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
			miss("make has no target %s", m[1])
		}
	}
	return wrong
}

// anchors are those of a page's headings, with spaces around each.
func anchors(text string) string {
	out := " "
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile("[^a-z0-9 -]").ReplaceAllString(strings.ToLower(m[1]), "")
		out += strings.ReplaceAll(plain, " ", "-") + " "
	}
	return out
}

func TestDocs_NamesExist(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	var tests strings.Builder
	err = filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range checkPage(page, string(text), tests.String(), string(makefile)) {
			t.Error(w)
		}
	}
}

func TestDocs_RejectsUnknownNames(t *testing.T) {
	const tests, makefile = "func TestOne_Case(", "check: deps\n"
	good := "`docs/design.md`, `TestOne_Case`, `TestOne_*`, [page](design.md#not-done), `make check`\n"
	if wrong := checkPage("docs/page.md", good, tests, makefile); len(wrong) != 0 {
		t.Errorf("names that exist: %q", wrong)
	}
	for _, bad := range []string{
		"`docs/absent.md`", "`TestTwo`", "`TestTwo_*`", "[page](absent.md)", "[page](design.md#absent)", "`make absent`",
		"\n    make absent\n",
	} {
		if wrong := checkPage("docs/page.md", bad, tests, makefile); len(wrong) != 1 {
			t.Errorf("%q has %d wrong names: %q", bad, len(wrong), wrong)
		}
	}
}
