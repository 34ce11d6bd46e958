package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/volume"
)

// TestCLI_InfoWriting has varve info say which images a read-write mount takes, and be right about it.
func TestCLI_InfoWriting(t *testing.T) {
	for _, c := range []struct {
		mkfs           string
		writable, text string
	}{
		{"", writableInPlace, "read-write with --rw"},
		{"^has_journal", writableInPlace, "after a crash it needs e2fsck"},
		{"bigalloc", writableInPlace, "read-write with --rw"},
	} {
		image := smallImage(t)
		if c.mkfs != "" {
			image = smallImage(t, "-O", c.mkfs)
		}
		var i imageInfo
		if err := json.Unmarshal([]byte(must(t, "info", "--json", image).Stdout), &i); err != nil {
			t.Fatal(err)
		}
		if out := must(t, "info", image).Stdout; i.Writable != c.writable || !strings.Contains(out, c.text) {
			t.Errorf("%q: %s; expected %s and %q\n%s", c.mkfs, i.Writable, c.writable, c.text, out)
		}
		w, err := volume.OpenWritable(volume.Spec{Image: image}, volume.WriteOptions{})
		if (err == nil) != (c.writable == writableInPlace) {
			t.Errorf("%q: opening it for writing: %v", c.mkfs, err)
		}
		if err == nil {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
