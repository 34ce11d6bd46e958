package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestTree_JSON: what is printed as the tree is walked is one document, with each node below its directory.
func TestTree_JSON(t *testing.T) {
	oracle.NeedRoot(t)
	image := rwImage(t, "16M")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	for _, d := range []string{"a/b/c", "a/empty", "z"} {
		fatal(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for _, f := range []string{"a/b/c/file", "a/file", "file"} {
		fatal(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
	}
	unmount()
	var doc struct {
		SchemaVersion int   `json:"schema_version"`
		Root          *node `json:"root"`
	}
	names := func(level string) string {
		fatal(t, json.Unmarshal([]byte(must(t, "tree", "--json", "--level", level, image).Stdout), &doc))
		var out []string
		var add func(d *node)
		add = func(d *node) {
			out = append(out, d.Path)
			for _, c := range d.Children {
				add(c)
			}
		}
		add(doc.Root)
		doc.Root = nil
		return strings.Join(out, " ")
	}
	for level, want := range map[string]string{
		"0": "/ /a /a/b /a/b/c /a/b/c/file /a/empty /a/file /file /lost+found /z",
		"2": "/ /a /a/b /a/empty /a/file /file /lost+found /z",
		"1": "/ /a /file /lost+found /z",
	} {
		if got := names(level); got != want {
			t.Errorf("level %s: %s, expected %s", level, got, want)
		}
	}
}

// TestCLI_DamagedTree reads around damage, reports it, and says so with its exit code.
func TestCLI_DamagedTree(t *testing.T) {
	image := corrupt(t, smallImage(t), func(p []byte) {
		at := bytes.Index(p, []byte("\x05\x01inner")) // the name in its directory entry
		if at < 0 {
			t.Fatal("no entry for inner")
		}
		p[at+2] = '/'
	})
	for _, args := range [][]string{{"tree", image}, {"tar", image},
		{"cp", image, "/", filepath.Join(t.TempDir(), "out")}} {
		r := varve(t, args...)
		if r.Code != exitDamaged || !strings.Contains(r.Stderr, "checksum") {
			t.Errorf("varve %s: %d, %s", args[0], r.Code, r.Stderr)
		}
		if args[0] == "tree" && !strings.Contains(r.Stdout, "hello") {
			t.Errorf("the rest of the tree is missing: %s", r.Stdout)
		}
	}
}
