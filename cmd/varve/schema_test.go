package main

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaOf compiles a schema of docs/schema.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join("..", "..", "docs", "schema", name+".json"))
	fatal(t, err)
	return s
}

// valid validates the output of a command.
func valid(t *testing.T, s *jsonschema.Schema, args ...string) {
	t.Helper()
	r := command(t, args...)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(r.Stdout))
	if err == nil {
		err = s.Validate(doc)
	}
	if err != nil {
		t.Errorf("varve %s: %v", strings.Join(args, " "), err)
	}
}

// TestSchema validates the JSON of each command that looks into images, of whole and damaged ones, and rejects
// documents with a field that is missing or of another type.
func TestSchema(t *testing.T) {
	image, old := smallImage(t, "-b", "1024"), smallImage(t, "-t", "ext2", "-O", "^dir_index")
	bad := corrupt(t, image, func(p []byte) { p[2048+4] ^= 1 }) // a group descriptor
	commands := map[string][][]string{
		"dump": {{"superblock"}, {"group", "0"}, {"inode", "/hello"}, {"extents", "/hello"}, {"dir", "/"}, {"xattr", "/"},
			{"journal"}, {"orphans"}, {"block", "1", "--hex"}},
		"info":    {{}, {"--features"}, {"--journal"}, {"--features", "--groups", "--journal"}},
		"find":    {{}, {"-type", "l"}},
		"du":      {{}, {"-a"}, {"--apparent-size", "-s"}},
		"inspect": {{}},
		"map":     {{"/hello"}},
		"diff":    {{old}, {newOverlay(t, image, "one")}},
	}
	files, err := filepath.Glob("../../docs/schema/*.json")
	if err != nil || len(files) != len(commands) {
		t.Errorf("%d schemas for %d commands: %v", len(files), len(commands), err)
	}
	for name, forms := range commands {
		s := schemaOf(t, name)
		for _, form := range forms {
			for _, of := range []string{image, old, bad} {
				if name == "diff" && of != image || form0(form) == "journal" && of == old {
					continue
				}
				args := []string{name, "--json", of}
				if name == "dump" {
					args = append([]string{name, "--json", form[0], of}, form[1:]...)
				} else {
					args = append(args, form...)
				}
				valid(t, s, args...)
			}
		}
		rejects(t, name, s, image)
	}
}

func form0(form []string) string {
	if len(form) == 0 {
		return ""
	}
	return form[0]
}

// rejects takes each required field away from a document, and gives it another type.
func rejects(t *testing.T, name string, s *jsonschema.Schema, image string) {
	t.Helper()
	args := map[string][]string{"dump": {"dump", "--json", "superblock", image}, "map": {"map", "--json", image, "/hello"},
		"diff": {"diff", "--json", image, image}}[name]
	if args == nil {
		args = []string{name, "--json", image}
	}
	var doc map[string]any
	parseJSON(t, &doc, args...)
	for _, field := range s.Required {
		less, other := maps.Clone(doc), maps.Clone(doc)
		delete(less, field)
		other[field] = []any{map[string]any{}, 1.5}
		if s.Validate(any(less)) == nil || s.Validate(any(other)) == nil {
			t.Errorf("%s: a document without %s, or with another type of it, is valid", name, field)
		}
	}
	if !slices.Contains(s.Required, "schema_version") {
		t.Errorf("%s: schema_version is not required", name)
	}
}
