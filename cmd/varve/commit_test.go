package main

import (
	"errors"
	"os"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestCommit writes an overlay into its image and removes it; then there is nothing to commit.
func TestCommit(t *testing.T) {
	image := smallImage(t)
	overlay := newOverlay(t, image, "one")
	checkCommands(t, []commandCase{
		{[]string{"commit", image}, exitUsage, "", "usage: varve commit IMAGE FILE"},
		{[]string{"commit", smallImage(t), overlay}, exitSystem, "", ""},
		{[]string{"cat", image, "/one"}, exitNotFound, "", "does not exist"},
		{[]string{"commit", image, overlay}, exitOK, "", "bytes of changes are in " + image},
		{[]string{"cat", image, "/one"}, exitOK, "one\n", ""},
		{[]string{"commit", image, overlay}, exitSystem, "", "no such file"},
	})
	if _, err := os.Stat(overlay); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the overlay is left: %v", err)
	}
	oracle.Clean(t, image)
}
