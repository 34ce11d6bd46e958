package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func newMkdir() *cobra.Command {
	var spec editSpec
	var parents bool
	var mode string
	cmd := &cobra.Command{
		Use:   "mkdir IMAGE PATH...",
		Short: "Make directories in an image, without mounting it",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := parseMode(mode)
			if err != nil {
				return err
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				return e.each(args[1:], func(path string) error { return e.mkdir(path, m.apply(0o777, true), parents) })
			})
		},
	}
	editFlags(cmd, &spec)
	cmd.Flags().BoolVarP(&parents, "parents", "p", false,
		"make the directories above it, too; one that exists is no error")
	cmd.Flags().StringVarP(&mode, "mode", "m", "755", "the directory's `mode`, as chmod(1) takes it")
	return cmd
}

// mkdir makes a directory. Those above it are made with mode 0755 where they are wanted.
func (e *editor) mkdir(path string, mode uint16, parents bool) error {
	up, name, err := e.parent(path)
	if errors.Is(err, ext4.ErrNotExist) && parents {
		above := strings.TrimRight(path, "/")
		if err := e.mkdir(above[:strings.LastIndexByte(above, '/')], 0o755, true); err != nil {
			return err
		}
		up, name, err = e.parent(path)
	}
	if err != nil {
		return err
	}
	_, err = e.Create(ext4.Cred{}, up, name, ext4.CreateOptions{Mode: disk.ModeDir | mode})
	if errors.Is(err, ext4.ErrExists) && parents {
		n, rerr := e.resolve(path, true)
		if rerr == nil && n.IsDir() {
			return nil
		}
	}
	return err
}
