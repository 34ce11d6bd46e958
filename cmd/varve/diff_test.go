package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// newOverlay makes an overlay that adds files to the root directory of an image, without a mount.
func newOverlay(t *testing.T, image string, names ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "overlay")
	w, err := volume.OpenOverlay(volume.Spec{Image: image}, file, volume.WriteOptions{})
	fatal(t, err)
	for _, name := range names {
		n, err := w.Create(ext4.Cred{}, ext4.Root, name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
		fatal(t, err)
		_, err = w.Write(ext4.Cred{}, ext4.NodeOf(&n), 0, []byte(name+"\n"), false)
		fatal(t, err)
	}
	fatal(t, w.Close())
	return file
}

// TestDiff shows the changes in an overlay, as text and as JSON, and nothing for an overlay without changes.
func TestDiff(t *testing.T) {
	image := smallImage(t)
	overlay := newOverlay(t, image, "one", "two\n")
	notes := filepath.Join(t.TempDir(), "notes")
	fatal(t, os.WriteFile(notes, []byte("no overlay, and no image"), 0o644))
	checkCommands(t, []commandCase{
		{[]string{"diff", image, overlay}, exitOK, "A /one\nA \"/two\\n\"\n", ""},
		{[]string{"diff", image, overlay + ".missing"}, exitSystem, "", "no such file"},
		{[]string{"diff", image, image}, exitOK, "", ""},
		{[]string{"diff", image, notes}, exitSystem, "", "no overlay"},
		{[]string{"diff", image}, exitUsage, "", "usage: varve diff IMAGE FILE"},
	})
	var doc struct {
		Version        int `json:"schema_version"`
		Image, Overlay string
		Changes        []change
	}
	parseJSON(t, &doc, "diff", "--json", image, overlay)
	if doc.Version != output.SchemaVersion || doc.Image != image || doc.Overlay != overlay || len(doc.Changes) != 2 ||
		doc.Changes[1].Path != "/two\n" || doc.Changes[1].Kind != "added" {
		t.Errorf("%+v", doc)
	}
	if r := command(t, "diff", image, newOverlay(t, image)); r.Stdout != "" || r.Code != exitOK {
		t.Errorf("an overlay without changes: %+v", r)
	}
	if _, err := os.Stat(overlay + ".missing"); err == nil {
		t.Error("diff made an overlay")
	}
}

// TestChangeLines has a letter for each kind of change.
func TestChangeLines(t *testing.T) {
	var out strings.Builder
	found, end := changeLines(&out, true)
	for _, kind := range []string{"added", "removed", "changed", "attributes"} {
		fatal(t, found(change{"/a b", kind, nil}))
	}
	fatal(t, found(change{"/a b", "attributes", []string{"mode", "owner"}}))
	fatal(t, end())
	if out.String() != "A /a b\nR /a b\nC /a b\nT /a b\nT /a b (mode, owner)\n" {
		t.Errorf("%q", out.String())
	}
}
