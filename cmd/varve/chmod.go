package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
)

func newChmod() *cobra.Command {
	var spec editSpec
	cmd := &cobra.Command{
		Use:   "chmod IMAGE MODE PATH...",
		Short: "Change the permissions of files of an image, without mounting it",
		Long: `Change the permissions of files. MODE is octal or says what changes (u+x,go=rX), as for chmod(1); no umask
counts. Symlinks are followed.`,
		Args: cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := parseMode(args[1])
			if err != nil {
				return err
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				return e.each(args[2:], func(path string) error {
					n, err := e.resolve(path, true)
					if err != nil {
						return err
					}
					mode := m.apply(n.Mode&0o7777, n.IsDir())
					_, err = e.SetAttr(ext4.Cred{}, ext4.NodeOf(&n), ext4.Attr{Mode: &mode})
					return err
				})
			})
		},
	}
	editFlags(cmd, &spec)
	return cmd
}

func newChown() *cobra.Command {
	var spec editSpec
	var links bool
	cmd := &cobra.Command{
		Use:   "chown IMAGE UID[:GID] PATH...",
		Short: "Change the owner of files of an image, without mounting it",
		Long: `Change owner and group (UID, UID:GID or :GID, as numbers: the names of this machine are not the image's).
As with chown(1), a file that may run with its owner's rights loses setuid, setgid and capabilities.`,
		Args: cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			uid, gid, err := parseOwner(args[1])
			if err != nil {
				return err
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				return e.each(args[2:], func(path string) error {
					n, err := e.resolve(path, !links)
					if err == nil {
						_, err = e.SetAttr(ext4.Cred{}, ext4.NodeOf(&n), ext4.Attr{UID: uid, GID: gid})
					}
					return err
				})
			})
		},
	}
	editFlags(cmd, &spec)
	cmd.Flags().BoolVar(&links, "no-dereference", false, "change symlinks themselves")
	return cmd
}

// parseOwner parses UID, UID:GID or :GID. An id that is not given is nil.
func parseOwner(text string) (uid, gid *uint32, err error) {
	parse := func(s string) (*uint32, error) {
		v, err := strconv.ParseUint(s, 10, 32)
		if err != nil || v == 1<<32-1 {
			return nil, usageError{fmt.Errorf("owner %q: expected UID, UID:GID or :GID, in numbers", text)}
		}
		id := uint32(v)
		return &id, nil
	}
	user, group, both := strings.Cut(text, ":")
	if user == "" && group == "" {
		return nil, nil, usageError{errors.New("an owner was expected: UID, UID:GID or :GID, in numbers")}
	}
	if user != "" {
		if uid, err = parse(user); err != nil {
			return nil, nil, err
		}
	}
	if both && group != "" {
		gid, err = parse(group)
	}
	return uid, gid, err
}
