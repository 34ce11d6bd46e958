package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
)

func newSetfattr() *cobra.Command {
	var spec editSpec
	var name, value, remove string
	var links bool
	cmd := &cobra.Command{
		Use:   "setfattr IMAGE {-n NAME [-v VALUE] | -x NAME} PATH...",
		Short: "Set or remove an extended attribute in an image, without mounting it",
		Long: `Set or remove an extended attribute of files. NAME has its namespace (user.comment, security.capability). VALUE
is text, or bytes in the forms of setfattr(1): 0x and hexadecimal digits, 0s and base64.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (name == "") == (remove == "") {
				return usageError{errors.New("either --name or --remove was expected")}
			}
			bytes, err := parseValue(value)
			if err != nil {
				return err
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				return e.each(args[1:], func(path string) error {
					n, err := e.resolve(path, !links)
					if err != nil {
						return err
					}
					if remove != "" {
						return e.RemoveXattr(ext4.Cred{}, ext4.NodeOf(&n), remove)
					}
					return e.SetXattr(ext4.Cred{}, ext4.NodeOf(&n), name, bytes, 0, false)
				})
			})
		},
	}
	editFlags(cmd, &spec)
	f := cmd.Flags()
	f.StringVarP(&name, "name", "n", "", "set the attribute `NAME`")
	f.StringVarP(&value, "value", "v", "", "to `VALUE`")
	f.StringVarP(&remove, "remove", "x", "", "remove the attribute `NAME`")
	f.BoolVar(&links, "no-dereference", false, "change symlinks themselves")
	return cmd
}

// parseValue is a value in the forms of setfattr(1).
func parseValue(text string) (value []byte, err error) {
	switch kind := strings.ToLower(text[:min(2, len(text))]); kind {
	case "0x":
		value, err = hex.DecodeString(text[2:])
	case "0s":
		value, err = base64.StdEncoding.DecodeString(text[2:])
	default:
		return []byte(text), nil
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("value %q: %w", text, err)}
	}
	return value, nil
}
