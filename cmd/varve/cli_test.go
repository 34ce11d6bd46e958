package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/output"
)

// TestCLI_Read reads an image without a mount.
func TestCLI_Read(t *testing.T) {
	image := smallImage(t)
	for _, c := range []struct {
		args   []string
		stdout string
	}{
		{[]string{"cat", image, "/hello"}, "hello, world\n"},
		{[]string{"cat", image, "link", "dir/inner"}, "hello, world\ninner\n"},
		{[]string{"ls", image}, "dir\nhello\nlink\nlost+found\n"},
		{[]string{"ls", "-a", image, "dir"}, ".\n..\ninner\nsub\n"},
		{[]string{"tree", image, "/dir"}, "/dir/\n  inner\n  sub/\n    deep\n"},
		{[]string{"tree", "-L", "1", image, "/dir"}, "/dir/\n  inner\n  sub/\n"},
	} {
		if r := command(t, c.args...); r.Code != exitOK || r.Stdout != c.stdout || r.Stderr != "" {
			t.Errorf("varve %s prints %q, %q; expected %q", strings.Join(c.args, " "), r.Stdout, r.Stderr, c.stdout)
		}
	}
}

// TestCLI_JSON prints documents that say their version, on standard output alone.
func TestCLI_JSON(t *testing.T) {
	image, out := smallImage(t), t.TempDir()
	for _, args := range [][]string{{"info", image}, {"ls", image}, {"stat", image, "/hello"}, {"tree", image},
		{"version"}, {"cp", image, "/dir", out}} {
		r := command(t, append(args, "--json")...)
		var doc map[string]any
		if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil {
			t.Errorf("%v: %v: %s", args, err, r.Stdout)
			continue
		}
		if doc["schema_version"] != float64(output.SchemaVersion) {
			t.Errorf("%v: schema_version is %v", args, doc["schema_version"])
		}
		for key := range doc {
			if strings.ToLower(key) != key {
				t.Errorf("%v: %q is not in snake_case", args, key)
			}
		}
	}
	var n node
	if err := json.Unmarshal([]byte(command(t, "stat", image, "/link", "--json").Stdout), &n); err != nil {
		t.Fatal(err)
	}
	if n.Type != "symlink" || n.Target == nil || *n.Target != "hello" || n.Mode != "0777" {
		t.Errorf("stat of a symlink: %+v", n)
	}
}
