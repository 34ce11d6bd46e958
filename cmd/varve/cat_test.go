package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestCat writes files one after the other, and stops at the first that it cannot write.
func TestCat(t *testing.T) {
	image := smallImage(t)
	checkCommands(t, []commandCase{
		{[]string{"cat", image, "hello", "/dir/inner", "link"}, exitOK, "hello, world\ninner\nhello, world\n", ""},
		{[]string{"cat", image, "/dir"}, exitUsage, "", "/dir is a directory, not a file"},
		{[]string{"cat", image, "/hello", "/missing", "/dir/inner"}, exitNotFound, "hello, world\n", "does not exist"},
		{[]string{"cat", image, "/hello/below"}, exitNotFound, "", "not a directory"},
		{[]string{"cat", image}, exitUsage, "", "usage: varve cat IMAGE PATH..."},
		{[]string{"cat", image, "/hello", "--part", "1"}, exitSystem, "", "partition table"},
	})
}

// TestCat_Large writes a file of several pieces, with its holes, byte by byte.
func TestCat_Large(t *testing.T) {
	source := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcde\n"), 200_000)
	clear(want[1<<20 : 2<<20])
	fatal(t, os.WriteFile(filepath.Join(source, "large"), want, 0o644))
	image := oracle.NewImage(t, 64<<20, "-d", source)
	if got := command(t, "cat", image, "/large").Stdout; got != string(want) {
		t.Errorf("%d bytes, expected %d", len(got), len(want))
	}
}

// TestCat_Interrupted ends by the command's context.
func TestCat_Interrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	root := newRoot()
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"cat", smallImage(t), "/hello"})
	if err := root.ExecuteContext(ctx); !errors.Is(err, context.Canceled) || exitCode(err) != exitInterrupted {
		t.Errorf("%v: exit code %d", err, exitCode(err))
	}
}
