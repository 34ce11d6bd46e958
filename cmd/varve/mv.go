package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
)

func newMv() *cobra.Command {
	var spec editSpec
	var keep, exchange, whole bool
	cmd := &cobra.Command{
		Use:   "mv IMAGE PATH DEST",
		Short: "Rename a file of an image, without mounting it",
		Long: `Rename PATH to DEST, or, where DEST is a directory, into it. A file at the new name is replaced, in the same
transaction.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := ext4.RenameFlags(0)
			switch {
			case keep && exchange:
				return usageError{errors.New("--no-clobber and --exchange contradict each other")}
			case keep:
				flags = ext4.RenameNoReplace
			case exchange:
				flags = ext4.RenameExchange
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				return e.rename(args[1], args[2], whole || exchange, flags)
			})
		},
	}
	editFlags(cmd, &spec)
	f := cmd.Flags()
	f.BoolVarP(&keep, "no-clobber", "n", false, "refuse to replace what is at the new name")
	f.BoolVar(&exchange, "exchange", false, "exchange the two")
	f.BoolVarP(&whole, "no-target-directory", "T", false, "DEST is the new name, also where it is a directory")
	return cmd
}

func (e *editor) rename(from, to string, whole bool, flags ext4.RenameFlags) error {
	parent, name, err := e.parent(from)
	if err != nil {
		return err
	}
	if !whole {
		if n, err := e.resolve(to, true); err == nil && n.IsDir() {
			to = strings.TrimRight(to, "/") + "/" + name
		}
	}
	newParent, newName, err := e.parent(to)
	if err != nil {
		return err
	}
	return withPath(from, e.EvictRemoved(e.Rename(ext4.Cred{}, parent, name, newParent, newName, flags)))
}
