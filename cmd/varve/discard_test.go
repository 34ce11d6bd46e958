package main

import (
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestDiscard removes an overlay, and nothing that is none.
func TestDiscard(t *testing.T) {
	image := smallImage(t)
	before := oracle.HashFile(t, image)
	overlay := newOverlay(t, image, "one")
	checkCommands(t, []commandCase{
		{[]string{"discard", image}, exitSystem, "", "no overlay"},
		{[]string{"discard"}, exitUsage, "", "usage: varve discard FILE"},
		{[]string{"discard", overlay}, exitOK, "", ""},
		{[]string{"discard", overlay}, exitSystem, "", "no such file"},
	})
	if oracle.HashFile(t, image) != before {
		t.Error("the image changed")
	}
}
