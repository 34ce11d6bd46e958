package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/mvcc"
)

// mountOptions are what the -o options of a mount amount to.
type mountOptions struct {
	spec volume.Spec
	fuse fuse.Options
	live bool
	ro   bool // asked for, not only by default

	overlay string
	write   volume.WriteOptions
	only    []string // options given that only a read-write mount takes

}

// ignoredOptions mean something to mount(8) or fstab(5), and nothing to a FUSE mount.
var ignoredOptions = []string{
	"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "loop",
	"diratime", "nodiratime", "nostrictatime", "silent", "loud", "default_permissions",
	"acl", "user_xattr",
}

// switches are the options that take no value.
var switches = []string{"sync", "async", "dirsync", "strictatime", "norelatime", "lazytime", "nolazytime", "no_lock", "overlay_adopt", "allow_other", "auto_unmount", "norecovery", "noload", "suid", "nosuid", "dev", "nodev", "exec", "noexec",
	"ro", "rw", "syncfs", "noatime", "relatime", "atime", "writeback_cache", "no_open"}

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
	case "ro", "rw":
		o.live, o.ro = name == "rw", name == "ro"
	case "overlay":
		o.overlay = value
	case "no_lock":
		o.spec.NoLock = true
	case "overlay_adopt":
		o.spec.Adopt = true
	case "data":
		o.only = append(o.only, item)
		switch value {
		case "ordered", "journal":
			o.write.JournalData = value == "journal"
		default:
			err = fmt.Errorf("option data: %q is neither ordered nor journal", value)
		}
	case "commit":
		o.only = append(o.only, item)
		var n int64
		if number(&n, 1); err == nil && (n < 1 || n > 3600) {
			err = fmt.Errorf("option commit: %s is not within 1 to 3600 seconds", value)
		}
		o.write.Commit = time.Duration(n) * time.Second
	case "memory":
		o.only = append(o.only, item)
		o.write.Memory, err = parseBound(value)
	case "policy":
		o.only = append(o.only, item)
		o.write.Policy, err = mvcc.ParsePolicy(value)
	case "writeback_cache":
		o.only = append(o.only, item)
		o.fuse.Writeback = true
	case "syncfs":
		o.only = append(o.only, item)
		o.fuse.SyncFS = true
	case "no_open":
		o.only = append(o.only, item)
		o.fuse.NoOpen = true
	case "noatime", "relatime", "atime", "strictatime", "norelatime":
		o.write.NoAtime, o.write.StrictAtime = name == "noatime", name == "strictatime" || name == "norelatime"
	case "sync", "async":
		o.write.Sync = name == "sync"
	case "dirsync":
		o.write.DirSync = true
	case "lazytime", "nolazytime": // times are written with each commit, which lazytime allows
	case "errors":
		on, ok := map[string]ext4.OnDamage{"continue": ext4.Continue, "remount-ro": ext4.RemountRO, "panic": ext4.Panic}[value]
		if !ok {
			err = fmt.Errorf("option errors: %q is none of continue, remount-ro and panic", value)
		}
		o.write.OnDamage = on
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
		o.spec.Cache, err = parseBound(value)
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
	case "remount":
		return fmt.Errorf("varve cannot remount: unmount, and mount again with the other options")
	default:
		if slices.Contains(ignoredOptions, name) || strings.HasPrefix(name, "x-") || name == "comment" {
			return nil
		}
		return fmt.Errorf("unknown mount option %q (see varve mount --help)", item)
	}
	if err != nil {
		return err
	}
	switch toggles := slices.Contains(switches, name); {
	case toggles && valued:
		return fmt.Errorf("option %s takes no value", name)
	case !toggles && value == "": // overlay= of an unset variable must not become a mount in place
		return fmt.Errorf("option %s needs a value", name)
	}
	return nil
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

// check checks the options against one another.
func (o *mountOptions) check() error {
	switch {
	case o.ro && o.overlay != "":
		return fmt.Errorf("options ro and overlay: one or the other, since a mount with an overlay is read-write")
	case o.ro && o.live:
		return fmt.Errorf("options ro and rw: one or the other")
	case !o.live && len(o.only) > 0:
		return fmt.Errorf("option %s: for read-write mounts only (--rw)", o.only[0])
	case o.overlay != "" && len(o.only) > 0 && slices.Contains(o.only, "data=ordered"):
		return fmt.Errorf("option data=ordered: an overlay's journal always has the file data, too")
	case o.fuse.SyncFS && o.fuse.AutoUnmount:
		return fmt.Errorf("options syncfs and auto_unmount: one or the other")
	case o.live && (o.spec.Superblock != 0 || o.spec.NoRecovery || o.spec.Journal != ""):
		return fmt.Errorf("sb, norecovery and journal_path are for read-only mounts")
	}
	return nil
}

// effective lists the options that are in force, in mount(8)'s grammar.
func (o *mountOptions) effective() string {
	out := []string{"ro"}
	if o.live {
		out[0] = "rw"
	}
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
	if o.live {
		data := "ordered"
		add(o.overlay != "", "overlay="+o.overlay)
		if o.write.JournalData || o.overlay != "" {
			data = "journal"
		}
		add(true, "data="+data)
		add(true, fmt.Sprintf("commit=%d", int(o.write.Commit.Seconds())))
		add(o.write.NoAtime, "noatime")
		add(!o.write.NoAtime && !o.write.StrictAtime, "relatime")
		add(o.write.StrictAtime, "strictatime")
		add(o.write.Sync, "sync")
		add(o.write.DirSync, "dirsync")
		add(true, fmt.Sprintf("memory=%d", o.write.Memory))
		add(true, "policy="+o.write.Policy.String())
		add(o.fuse.Writeback, "writeback_cache")
		add(o.fuse.NoOpen, "no_open")
		add(o.fuse.SyncFS, "syncfs")
	}
	return strings.Join(out, ",")
}

// config is what a daemon serves by these options.
func (o *mountOptions) config() daemon.Config {
	return daemon.Config{Spec: o.spec, Fuse: o.fuse, Write: o.write, Live: o.live, Overlay: o.overlay, InForce: o.effective()}
}
