package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/volume"
)

// mountOptions are a daemon's configuration as -o options and flags make it.
type mountOptions struct {
	daemon.Config
	ro    bool     // given, and not only the default
	given []string // options that only read-write mounts take
}

// ignoredOptions mean something to mount(8) or fstab(5), and nothing to a FUSE mount.
var ignoredOptions = []string{
	"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "loop",
	"diratime", "nodiratime", "nostrictatime", "silent", "loud", "acl", "user_xattr",
}

// parseMountOptions reads options in mount(8)'s grammar: names and name=value, separated by commas. Of two that
// contradict each other the later one counts.
func parseMountOptions(lists []string) (mountOptions, error) {
	var o mountOptions
	for _, list := range lists {
		for _, item := range strings.Split(list, ",") {
			if item == "" {
				continue
			}
			if err := o.set(item); err != nil {
				return o, usageError{err}
			}
		}
	}
	return o, nil
}

// set applies one option.
func (o *mountOptions) set(item string) error {
	name, value, valued := strings.Cut(item, "=")
	row := findOption(name)
	switch {
	case row == nil && (slices.Contains(ignoredOptions, name) || strings.HasPrefix(name, "x-") || name == "comment"):
		return nil
	case name == "remount":
		return errors.New("varve cannot remount: unmount, and mount again with the other options")
	case row == nil:
		return fmt.Errorf("unknown mount option %q (see varve mount --help)", item)
	case row.values == "" && valued:
		return fmt.Errorf("option %s takes no value", name)
	case row.values != "" && value == "": // overlay= of an unset variable must not become a mount in place
		return fmt.Errorf("option %s needs a value", name)
	}
	if row.mounts == readWriteOnly {
		o.given = append(o.given, item)
	}
	if err := row.set(o, name, value); err != nil {
		return fmt.Errorf("option %s: %w", name, err)
	}
	return nil
}

// complete adds the image, the defaults, and all that follows from the options.
func (o *mountOptions) complete(image string) error {
	o.Spec.Image = image
	o.Spec.Cache = cmp.Or(o.Spec.Cache, volume.DefaultCache)
	o.Fuse.MaxBackground = cmp.Or(o.Fuse.MaxBackground, fuse.DefaultMaxBackground)
	o.Write.Memory = cmp.Or(o.Write.Memory, volume.DefaultMemory)
	o.Write.Commit = cmp.Or(o.Write.Commit, defaultCommit)
	if abs, err := filepath.Abs(image); err == nil {
		o.Fuse.Source = abs
	}
	if o.Spec.WAL != "" {
		if abs, err := filepath.Abs(o.Spec.WAL); err == nil {
			o.Spec.WAL = abs
		}
	}
	if o.Overlay != "" {
		abs, err := filepath.Abs(o.Overlay) // the daemon works in another directory
		if err != nil {
			return err
		}
		o.Overlay, o.Writable = abs, true
	}
	if err := o.check(); err != nil {
		return err
	}
	o.InForce = o.inForce()
	return nil
}

// check checks the options against one another.
func (o *mountOptions) check() error {
	switch {
	case o.ro && o.Overlay != "":
		return errors.New("options ro and overlay: one or the other, since a mount with an overlay is read-write")
	case o.ro && o.Writable:
		return errors.New("options ro and rw: one or the other")
	case !o.Writable && len(o.given) > 0:
		return fmt.Errorf("option %s: for read-write mounts only (--rw)", o.given[0])
	case o.Overlay != "" && slices.Contains(o.given, "data=ordered"):
		return errors.New("option data=ordered: an overlay's journal always has the file data, too")
	case o.Fuse.SyncFS && o.Fuse.AutoUnmount:
		return errors.New("options syncfs and auto_unmount: one or the other")
	case o.Writable && (o.Spec.Superblock != 0 || o.Spec.NoRecovery):
		return errors.New("sb and norecovery are for read-only mounts")
	}
	return nil
}

// inForce lists the options that are in force, in mount(8)'s grammar and in the order of the table.
func (o *mountOptions) inForce() string {
	var out []string
	for i := range optionTable {
		row := &optionTable[i]
		if !o.Writable && (row.mounts == readWriteOnly || row.mounts == writing) {
			continue
		}
		if item := row.inForce(o); item != "" {
			out = append(out, item)
		}
	}
	return strings.Join(out, ",")
}

// parseSize reads a number of bytes with an optional suffix K, M or G (powers of 1024).
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMG", s[n-1]&^0x20); i >= 0 && s[n-1] >= 'A' {
			digits, shift = s[:n-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v < 0 || v > 1<<62>>shift {
		return 0, fmt.Errorf("%q is no size: expected a number of bytes, with K, M or G", s)
	}
	return v << shift, nil
}

// maxBound is the largest bound of memory, in bytes. Tables are made in proportion to it.
const maxBound = 1 << 40

// parseBound reads a bound of memory.
func parseBound(s string) (int64, error) {
	n, err := parseSize(s)
	if err == nil && n > maxBound {
		err = fmt.Errorf("%s is more than %dG", s, maxBound>>30)
	}
	return n, err
}

// formatSize is parseSize's inverse, in the largest unit that leaves no remainder.
func formatSize(n int64) string {
	for i, unit := range []string{"G", "M", "K"} {
		if shift := 30 - 10*i; n != 0 && n%(1<<shift) == 0 {
			return strconv.FormatInt(n>>shift, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10)
}

// parseNumber reads a number of an option's units; most bounds it.
func parseNumber(s string, unit, least, most int64) (int64, error) {
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || v < 0:
		return 0, fmt.Errorf("%q is no number", s)
	case v < least || v > most:
		return 0, fmt.Errorf("%s is not within %d to %d", s, least, most)
	}
	return v * unit, nil
}

// defaultCommit is the default bound of the time until a change is durable.
const defaultCommit = 5 * time.Second
