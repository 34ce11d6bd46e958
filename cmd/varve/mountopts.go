package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/volume"
)

// mountOptions are what the -o options of a mount amount to.
type mountOptions struct {
	spec volume.Spec
	fuse fuse.Options
}

// ignoredOptions mean something to mount(8) or fstab(5), and nothing to a read-only FUSE mount.
var ignoredOptions = []string{
	"ro", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "loop",
	"async", "sync", "dirsync", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
	"nostrictatime", "lazytime", "nolazytime", "silent", "loud", "default_permissions",
	"acl", "user_xattr", "errors",
}

// switches are the options that take no value.
var switches = []string{"allow_other", "auto_unmount", "norecovery", "noload", "suid", "nosuid", "dev", "nodev", "exec", "noexec"}

// parseMountOptions reads options in mount(8)'s grammar: names and name=value, separated by commas, the later ones
// counting.
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

func (o *mountOptions) set(item string) (err error) {
	name, value, valued := strings.Cut(item, "=")
	number := func(dst *int64, unit int64) {
		var v int64
		if v, err = strconv.ParseInt(value, 10, 64); err != nil || v < 0 || v > 1<<62/unit {
			err = fmt.Errorf("option %s: %q is no number", name, value)
		}
		*dst = v * unit
	}
	switch name {
	case "rw":
		return fmt.Errorf("option rw: this version mounts read-only")
	case "allow_other":
		o.fuse.AllowOther = true
	case "auto_unmount":
		o.fuse.AutoUnmount = true
	case "max_background":
		var n int64
		if number(&n, 1); err == nil && (n < 1 || n > 65535) {
			err = fmt.Errorf("option max_background: %s is not within 1 to 65535", value)
		}
		o.fuse.MaxBackground = int(n)
	case "part":
		o.spec.Part = value
	case "fsoffset", "offset":
		number(&o.spec.Offset, 1)
	case "sb":
		number(&o.spec.Superblock, 1024)
	case "cache":
		o.spec.Cache, err = parseSize(value)
	case "trace":
		o.spec.Trace = value
	case "journal_path", "journal_device":
		o.spec.Journal = value
	case "norecovery", "noload":
		o.spec.NoRecovery = true
	case "suid", "nosuid":
		o.fuse.Flags.Suid = name == "suid"
	case "dev", "nodev":
		o.fuse.Flags.Dev = name == "dev"
	case "exec", "noexec":
		o.fuse.Flags.NoExec = name == "noexec"
	default:
		if slices.Contains(ignoredOptions, name) || strings.HasPrefix(name, "x-") || name == "comment" {
			return nil
		}
		return fmt.Errorf("unknown mount option %q (see varve mount --help)", item)
	}
	if err == nil && valued == slices.Contains(switches, name) {
		if valued {
			return fmt.Errorf("option %s takes no value", name)
		}
		return fmt.Errorf("option %s needs a value", name)
	}
	return err
}

// effective lists the options that are in force, in mount(8)'s grammar.
func (o *mountOptions) effective() string {
	out := []string{"ro"}
	add := func(on bool, item string) {
		if on {
			out = append(out, item)
		}
	}
	add(!o.fuse.Flags.Suid, "nosuid")
	add(o.fuse.Flags.Suid, "suid")
	add(!o.fuse.Flags.Dev, "nodev")
	add(o.fuse.Flags.Dev, "dev")
	add(o.fuse.Flags.NoExec, "noexec")
	add(true, "default_permissions")
	add(o.fuse.AllowOther, "allow_other")
	add(o.fuse.AutoUnmount, "auto_unmount")
	add(true, fmt.Sprintf("max_background=%d", o.fuse.MaxBackground))
	add(o.spec.Part != "", "part="+o.spec.Part)
	add(o.spec.Offset != 0, fmt.Sprintf("fsoffset=%d", o.spec.Offset))
	add(o.spec.Superblock != 0, fmt.Sprintf("sb=%d", o.spec.Superblock/1024))
	add(true, fmt.Sprintf("cache=%d", o.spec.Cache))
	add(o.spec.Journal != "", "journal_path="+o.spec.Journal)
	add(o.spec.NoRecovery, "norecovery")
	return strings.Join(out, ",")
}
