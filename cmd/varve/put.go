package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/output"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func newPut() *cobra.Command {
	var spec editSpec
	var force, asJSON bool
	var owner string
	cmd := &cobra.Command{
		Use:   "put IMAGE SOURCE PATH",
		Short: "Copy files into an image, without mounting it",
		Long: `Copy SOURCE, a file or a folder and all below it, to PATH in the image, as cp -a does: with owners, modes,
times, hard links, symlinks, holes, device nodes and extended attributes. If PATH is a directory the copy goes into it.
SOURCE - is standard input. A file is there whole or not at all, also after a crash. Files that exist are not replaced,
unless --force is given.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			uid, gid, err := parseOptionalOwner(owner)
			if err != nil {
				return err
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				p := putter{editor: e, uid: uid, gid: gid, force: force}
				err := withPath(args[2], p.put(args[1], args[2]))
				if asJSON {
					err = errors.Join(output.WriteJSON(cmd.OutOrStdout(), p.summary()), err)
				}
				return err
			})
		},
	}
	editFlags(cmd, &spec)
	f := cmd.Flags()
	f.BoolVarP(&force, "force", "f", false, "replace files that exist")
	f.StringVar(&owner, "owner", "", "give all to `UID:GID` instead of to the owners that they have here")
	f.BoolVar(&asJSON, "json", false, "print what was copied as JSON")
	return cmd
}

func parseOptionalOwner(text string) (uid, gid *uint32, err error) {
	if text == "" {
		return nil, nil, nil
	}
	return parseOwner(text)
}

// putter copies into an image.
type putter struct {
	*editor
	uid, gid *uint32
	force    bool
	im       *importer.Importer
}

func (p *putter) summary() map[string]any {
	s := map[string]any{"schema_version": output.SchemaVersion}
	if p.im != nil {
		s["files"], s["directories"], s["bytes"] = p.im.Files, p.im.Directories, p.im.Bytes
	}
	return s
}

func (p *putter) put(source, path string) error {
	if n, err := p.resolve(path, true); err == nil && n.IsDir() && source != "-" {
		if name := base(source); name != "/" && name != "." {
			path = strings.TrimRight(path, "/") + "/" + name
		}
	}
	parent, name, err := p.parent(path)
	if err != nil {
		return err
	}
	p.im = importer.New(p.Writable.Writable, parent,
		importer.Options{Atomic: true, Replace: p.force, UID: p.uid, GID: p.gid})
	if source == "-" {
		return p.stdin(name)
	}
	return p.im.Folder(p.cmd.Context(), source, name, func(name string) {
		fmt.Fprintf(p.cmd.ErrOrStderr(), "varve: %s: a socket, which is left out\n", output.Quote(name))
	})
}

// stdin puts standard input into a file.
func (p *putter) stdin(name string) error {
	now := time.Now()
	return p.im.Add(p.cmd.Context(), importer.Entry{
		Path: name, Mode: disk.ModeRegular | 0o644, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
		Atime: now, Mtime: now,
		Contents: importer.Reader(importer.Interruptible(p.cmd.Context(), os.Stdin)),
	})
}

func newImport() *cobra.Command {
	var spec editSpec
	var asJSON bool
	var owner string
	cmd := &cobra.Command{
		Use:   "import IMAGE TAR [DIR]",
		Short: "Extract a tar archive into an image, without mounting it",
		Long: `Extract TAR, which may be compressed with gzip, bzip2 or zstd, into DIR of the image (/): with owners by
number, modes, times, hard links, symlinks, holes, device nodes, extended attributes and ACLs. TAR - is standard input.
As with tar(1), files that exist are replaced, and directories stay, with the archive's owner, mode and times. A file is
there whole or not at all, also after a crash. Names lead through symlinks only where DIR is /.

After an error, or a signal, the entries before it are there. Directories that were made have mode 0700 then, and none
has the archive's attributes and times. Import the archive again to complete them.`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			uid, gid, err := parseOptionalOwner(owner)
			if err != nil {
				return err
			}
			dir := "/"
			if len(args) > 2 {
				dir = args[2]
			}
			in := os.Stdin
			if args[1] != "-" {
				if in, err = importer.Open(cmd.Context(), args[1]); err != nil {
					return err
				}
				defer in.Close()
			}
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				top, err := e.resolve(dir, true)
				if err == nil && !top.IsDir() {
					err = fmt.Errorf("%s: %w", output.Quote(dir), ext4.ErrNotDir)
				}
				if err != nil {
					return err
				}
				im := importer.New(e.Writable.Writable, ext4.NodeOf(&top),
					importer.Options{Atomic: true, Replace: true, Follow: top.Ino == ext4.RootIno, UID: uid, GID: gid})
				bar := newBytesBar(cmd, in)
				err = im.Tar(cmd.Context(), bar)
				_ = bar.Close()
				if asJSON {
					p := putter{im: im}
					err = errors.Join(output.WriteJSON(cmd.OutOrStdout(), p.summary()), err)
				}
				return err
			})
		},
	}
	editFlags(cmd, &spec)
	cmd.Flags().StringVar(&owner, "owner", "", "give all to `UID:GID` instead of to the archive's owners")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was extracted as JSON")
	return cmd
}
