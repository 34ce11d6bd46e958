// Package fronts has FUSE daemons to compare mounts with: one that stores nothing, and go-fuse's loopback.
package fronts

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// Main has a program that was started by Start serve, and reports whether it was.
func Main() bool {
	if len(os.Args) != 5 || os.Args[1] != "serve" {
		return false
	}
	if err := serve(os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// Start starts this program as a daemon (see Main) and returns when its mount answers: "null", or "loopback" over a
// folder. stop unmounts it.
func Start(kind, below, dir string) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "serve", kind, below, dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("%s: %q %w", kind, line, err)
	}
	return func() error {
		out, err := exec.Command("umount", dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("umount %s: %w: %s", dir, err, out)
		}
		return cmd.Wait()
	}, nil
}

// serve is a daemon: null, or go-fuse's loopback over a folder, without passthrough.
func serve(kind, below, dir string) error {
	mo := gofuse.MountOptions{DirectMount: true, MaxWrite: 512 << 10, Name: kind, MaxBackground: 64,
		ExtraCapabilities:    gofuse.CAP_HANDLE_KILLPRIV_V2 | gofuse.CAP_NO_OPENDIR_SUPPORT | gofuse.CAP_DONT_MASK,
		DisabledCapabilities: gofuse.CAP_PASSTHROUGH, Options: []string{"default_permissions"}}
	if kind == "null" {
		s, err := gofuse.NewServer(newNull(), dir, &mo)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, "ready")
		s.Serve()
		return nil
	}
	root, err := gofs.NewLoopbackRoot(below)
	if err != nil {
		return err
	}
	timeout := forever
	s, err := gofs.Mount(dir, root, &gofs.Options{MountOptions: mo, EntryTimeout: &timeout, AttrTimeout: &timeout,
		NullPermissions: true})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "ready")
	s.Wait()
	return nil
}
