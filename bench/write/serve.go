package main

import (
	"fmt"
	"os"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// serve is this program as a daemon: null, or go-fuse's loopback over a folder, without passthrough.
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
	second := forever
	s, err := gofs.Mount(dir, root, &gofs.Options{MountOptions: mo, EntryTimeout: &second, AttrTimeout: &second, NullPermissions: true})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "ready")
	s.Wait()
	return nil
}
