package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/mvcc"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// mountKind says for which mounts an option is.
type mountKind string

const (
	allMounts     mountKind = "all"
	readOnlyOnly  mountKind = "read-only"  // refused for a read-write mount
	readWriteOnly mountKind = "read-write" // refused for a read-only mount
	writing       mountKind = "read-write; no effect on others"
)

// option is one row of the table of mount options.
type option struct {
	names   []string // all that the row is for, separated as the help shows them
	also    []string // other spellings
	values  string   // the form of the value; empty: the options take none
	initial string   // the default; empty: off, or none
	mounts  mountKind
	meaning string

	set     func(o *mountOptions, name, value string) error
	inForce func(o *mountOptions) string // the option as it is in force; empty: not to be shown
}

// optionTable is all mount options. The parser, varve mount --help, docs/cli.md and the options that a mount shows as
// in force are made from it.
var optionTable = []option{
	{names: []string{"ro", "rw"}, initial: "ro", mounts: allMounts,
		meaning: "read-only, or read-write in place; without a journal a crash leaves the image for e2fsck to repair",
		set: func(o *mountOptions, name, _ string) error {
			o.Writable, o.ro = name == "rw", name == "ro"
			return nil
		},
		inForce: func(o *mountOptions) string { return either(o.Writable, "rw", "ro") }},
	{names: []string{"suid", "nosuid"}, initial: "nosuid", mounts: allMounts,
		meaning: "obey bits that change the user of a program, or do not (mount(8))",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.Flags.Suid }, "suid"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.Flags.Suid, "suid", "nosuid") }},
	{names: []string{"dev", "nodev"}, initial: "nodev", mounts: allMounts,
		meaning: "obey device nodes, or do not (mount(8))",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.Flags.Dev }, "dev"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.Flags.Dev, "dev", "nodev") }},
	{names: []string{"exec", "noexec"}, initial: "exec", mounts: allMounts,
		meaning: "let programs on the mount be run, or do not (mount(8))",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.Flags.NoExec }, "noexec"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.Flags.NoExec, "noexec", "") }},
	{names: []string{"default_permissions"}, initial: "always on", mounts: allMounts,
		meaning: "the kernel checks permissions and ACLs",
		set:     func(*mountOptions, string, string) error { return nil },
		inForce: func(*mountOptions) string { return "default_permissions" }},
	{names: []string{"allow_other"}, mounts: allMounts,
		meaning: "let all users in, each by the file system's permissions and ACLs",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.AllowOther }, "allow_other"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.AllowOther, "allow_other", "") }},
	{names: []string{"auto_unmount"}, mounts: allMounts,
		meaning: "unmount when the daemon ends, however it ends (through fusermount3, which sees that only where root may " +
			"enter: as root, or with allow_other)",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.AutoUnmount }, "auto_unmount"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.AutoUnmount, "auto_unmount", "") }},
	{names: []string{"max_background"}, values: "N", initial: strconv.Itoa(fuse.DefaultMaxBackground), mounts: allMounts,
		meaning: "readahead requests at a time, 1 to 65535",
		set: func(o *mountOptions, _, value string) error {
			n, err := parseNumber(value, 1, 1, 65535)
			o.Fuse.MaxBackground = int(n)
			return err
		},
		inForce: func(o *mountOptions) string { return fmt.Sprintf("max_background=%d", o.Fuse.MaxBackground) }},
	{names: []string{"part"}, values: "N|auto", mounts: allMounts,
		meaning: "the partition to mount; auto: the only one with an ext file system",
		set:     text(func(o *mountOptions) *string { return &o.Spec.Part }),
		inForce: func(o *mountOptions) string { return valued("part", o.Spec.Part) }},
	{names: []string{"fsoffset"}, also: []string{"offset"}, values: "BYTES", initial: "0", mounts: allMounts,
		meaning: "where in the image the file system begins (also offset=, which mount(8) keeps to itself)",
		set:     number(func(o *mountOptions) *int64 { return &o.Spec.Offset }, 1),
		inForce: func(o *mountOptions) string { return counted("fsoffset", o.Spec.Offset) }},
	{names: []string{"sb"}, values: "N", mounts: readOnlyOnly,
		meaning: "read the backup superblock at N KiB",
		set:     number(func(o *mountOptions) *int64 { return &o.Spec.Superblock }, 1024),
		inForce: func(o *mountOptions) string { return counted("sb", o.Spec.Superblock/1024) }},
	{names: []string{"cache"}, values: "SIZE", initial: formatSize(volume.DefaultCache), mounts: allMounts,
		meaning: "bound of the metadata cache",
		set:     bound(func(o *mountOptions) *int64 { return &o.Spec.Cache }),
		inForce: func(o *mountOptions) string { return fmt.Sprintf("cache=%d", o.Spec.Cache) }},
	{names: []string{"journal_path"}, also: []string{"journal_device"}, values: "IMAGE", mounts: allMounts,
		meaning: "the external journal",
		set:     text(func(o *mountOptions) *string { return &o.Spec.Journal }),
		inForce: func(o *mountOptions) string { return valued("journal_path", o.Spec.Journal) }},
	{names: []string{"wal"}, values: "FILE", mounts: allMounts,
		meaning: "the log of an image without a journal, which makes it crash-safe; rw: made where it is not there",
		set:     text(func(o *mountOptions) *string { return &o.Spec.WAL }),
		inForce: func(o *mountOptions) string { return valued("wal", o.Spec.WAL) }},
	{names: []string{"norecovery", "noload"}, mounts: readOnlyOnly,
		meaning: "do not replay the journal",
		set:     toggle(func(o *mountOptions) *bool { return &o.Spec.NoRecovery }, "norecovery", "noload"),
		inForce: func(o *mountOptions) string { return either(o.Spec.NoRecovery, "norecovery", "") }},
	{names: []string{"trace"}, values: "FILE", mounts: allMounts,
		meaning: "write the numbers of the metadata blocks that are read into a file",
		set:     text(func(o *mountOptions) *string { return &o.Spec.Trace }),
		inForce: func(o *mountOptions) string { return valued("trace", o.Spec.Trace) }},
	{names: []string{"no_lock"}, mounts: allMounts,
		meaning: "mount although another mount may write to the image: what is read may be wrong",
		set:     toggle(func(o *mountOptions) *bool { return &o.Spec.NoLock }, "no_lock"),
		inForce: func(o *mountOptions) string { return either(o.Spec.NoLock, "no_lock", "") }},
	{names: []string{"overlay"}, values: "FILE", mounts: readWriteOnly,
		meaning: "read-write, with all changes in FILE (varve commit, diff and discard); for images without a journal, " +
			"too; a name with a comma needs the flag --overlay",
		set:     text(func(o *mountOptions) *string { return &o.Overlay }),
		inForce: func(o *mountOptions) string { return valued("overlay", o.Overlay) }},
	{names: []string{"overlay_adopt"}, mounts: writing,
		meaning: "take the overlay although the image was changed since it was made",
		set:     toggle(func(o *mountOptions) *bool { return &o.Spec.Adopt }, "overlay_adopt"),
		inForce: func(o *mountOptions) string { return either(o.Spec.Adopt, "overlay_adopt", "") }},
	{names: []string{"data"}, values: "ordered|journal", initial: "ordered", mounts: readWriteOnly,
		meaning: "metadata alone goes through the journal (ordered), or file data, too (journal; always so in an overlay)",
		set: func(o *mountOptions, _, value string) error {
			o.Write.JournalData = value == "journal"
			return oneOf(value, "ordered", "journal")
		},
		inForce: func(o *mountOptions) string {
			return either(o.Write.JournalData || o.Overlay != "", "data=journal", "data=ordered")
		}},
	{names: []string{"commit"}, values: "SECONDS", initial: strconv.Itoa(int(defaultCommit.Seconds())),
		mounts:  readWriteOnly,
		meaning: "make changes durable at least so often, 1 to 3600",
		set: func(o *mountOptions, _, value string) error {
			n, err := parseNumber(value, 1, 1, 3600)
			o.Write.Commit = time.Duration(n) * time.Second
			return err
		},
		inForce: func(o *mountOptions) string { return fmt.Sprintf("commit=%d", int(o.Write.Commit.Seconds())) }},
	{names: []string{"noatime", "relatime", "strictatime"}, also: []string{"atime", "norelatime"}, initial: "relatime",
		mounts: writing,
		meaning: "keep no times of access; keep them as mount(8) says for relatime; set them at each read that reaches the " +
			"daemon",
		set: func(o *mountOptions, name, _ string) error {
			o.Write.NoAtime, o.Write.StrictAtime = name == "noatime", name == "strictatime" || name == "norelatime"
			return nil
		},
		inForce: func(o *mountOptions) string {
			return either(o.Write.NoAtime, "noatime", either(o.Write.StrictAtime, "strictatime", "relatime"))
		}},
	{names: []string{"sync", "async"}, initial: "async", mounts: writing,
		meaning: "make each change durable before its operation returns, or later (commit=)",
		set:     toggle(func(o *mountOptions) *bool { return &o.Write.Sync }, "sync"),
		inForce: func(o *mountOptions) string { return either(o.Write.Sync, "sync", "") }},
	{names: []string{"dirsync"}, mounts: writing,
		meaning: "make changes of directories durable before their operations return",
		set:     toggle(func(o *mountOptions) *bool { return &o.Write.DirSync }, "dirsync"),
		inForce: func(o *mountOptions) string { return either(o.Write.DirSync, "dirsync", "") }},
	{names: []string{"lazytime", "nolazytime"}, mounts: writing,
		meaning: "accepted: times are written with each commit either way",
		set:     func(*mountOptions, string, string) error { return nil },
		inForce: func(*mountOptions) string { return "" }},
	{names: []string{"errors"}, values: "continue|remount-ro|panic", initial: "as the superblock says", mounts: writing,
		meaning: "what follows from damage (tune2fs -e); panic is taken as remount-ro",
		set: func(o *mountOptions, _, value string) error {
			o.Write.OnDamage = onDamage[value]
			return oneOf(value, "continue", "remount-ro", "panic")
		},
		inForce: func(o *mountOptions) string {
			for name, d := range onDamage {
				if o.Write.OnDamage == d {
					return "errors=" + name
				}
			}
			return ""
		}},
	{names: []string{"quota", "usrquota", "grpquota", "prjquota", "noquota"}, initial: "all that the image has",
		mounts: writing,
		meaning: "enforce limits of users (quota, usrquota), groups, projects, as far as they are named, or none; usage is " +
			"counted either way",
		set: setQuota,
		inForce: func(o *mountOptions) string {
			var out []string
			for t, name := range quotaOptions {
				if o.Write.Quotas.Asked[t] {
					out = append(out, name)
				}
			}
			return either(o.Write.Quotas.Off, "noquota", strings.Join(out, ","))
		}},
	{names: []string{"usrjquota", "grpjquota", "jqfmt"}, values: "NAME", mounts: writing,
		meaning: "refused: quotas in ordinary files are not kept (tune2fs -O quota has the file system keep them)",
		set: func(*mountOptions, string, string) error {
			return errors.New("quotas in ordinary files are not kept: tune2fs -O quota has the file system keep them")
		},
		inForce: func(*mountOptions) string { return "" }},
	{names: []string{"memory"}, values: "SIZE", initial: formatSize(volume.DefaultMemory), mounts: readWriteOnly,
		meaning: "bound of versions, cached blocks and bitmaps",
		set:     bound(func(o *mountOptions) *int64 { return &o.Write.Memory }),
		inForce: func(o *mountOptions) string { return fmt.Sprintf("memory=%d", o.Write.Memory) }},
	{names: []string{"policy"}, values: "merge|strict|wait|adaptive", initial: "merge", mounts: readWriteOnly,
		meaning: "how conflicts are decided",
		set: func(o *mountOptions, _, value string) (err error) {
			o.Write.Policy, err = mvcc.ParsePolicy(value)
			return err
		},
		inForce: func(o *mountOptions) string { return "policy=" + o.Write.Policy.String() }},
	{names: []string{"writeback_cache"}, mounts: readWriteOnly,
		meaning: "the kernel gathers writes; running out of space then shows at fsync or close",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.Writeback }, "writeback_cache"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.Writeback, "writeback_cache", "") }},
	{names: []string{"no_open"}, mounts: readWriteOnly,
		meaning: "opening and closing files sends no request to the daemon, which is faster; then direct writes into one " +
			"file run one at a time, and writing, not opening, fails for an immutable file",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.NoOpen }, "no_open"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.NoOpen, "no_open", "") }},
	{names: []string{"syncfs"}, mounts: readWriteOnly,
		meaning: "sync(1) and syncfs(2) make the mount durable, and umount(2) returns when the image is clean and released " +
			"(root only; the mount has the type fuseblk and a loop device of its own, and some operations cost more)",
		set:     toggle(func(o *mountOptions) *bool { return &o.Fuse.SyncFS }, "syncfs"),
		inForce: func(o *mountOptions) string { return either(o.Fuse.SyncFS, "syncfs", "") }},
}

// quotaOptions are the options that name a type of quotas.
var quotaOptions = [disk.QuotaTypes]string{"usrquota", "grpquota", "prjquota"}

func setQuota(o *mountOptions, name, _ string) error {
	q := &o.Write.Quotas
	if name == "noquota" {
		*q = ext4.QuotaOptions{Off: true}
		return nil
	}
	q.Off = false
	for t, n := range quotaOptions {
		q.Asked[t] = q.Asked[t] || n == name || name == "quota" && t == int(disk.UserQuota)
	}
	return nil
}

// onDamage are the values of errors=.
var onDamage = map[string]ext4.OnDamage{"continue": ext4.Continue, "remount-ro": ext4.RemountRO, "panic": ext4.Panic}

// findOption is the row of an option's name; nil if there is none.
func findOption(name string) *option {
	for i := range optionTable {
		for _, names := range [][]string{optionTable[i].names, optionTable[i].also} {
			for _, n := range names {
				if n == name {
					return &optionTable[i]
				}
			}
		}
	}
	return nil
}

// toggle sets a switch, and clears it for the row's other names.
func toggle(of func(*mountOptions) *bool, on ...string) func(*mountOptions, string, string) error {
	return func(o *mountOptions, name, _ string) error {
		*of(o) = false
		for _, n := range on {
			*of(o) = *of(o) || n == name
		}
		return nil
	}
}

// text takes a value as it is.
func text(of func(*mountOptions) *string) func(*mountOptions, string, string) error {
	return func(o *mountOptions, _, value string) error {
		*of(o) = value
		return nil
	}
}

// number takes a number of units.
func number(of func(*mountOptions) *int64, unit int64) func(*mountOptions, string, string) error {
	return func(o *mountOptions, _, value string) (err error) {
		*of(o), err = parseNumber(value, unit, 0, 1<<62/unit)
		return err
	}
}

// bound takes a bound of memory.
func bound(of func(*mountOptions) *int64) func(*mountOptions, string, string) error {
	return func(o *mountOptions, _, value string) (err error) {
		*of(o), err = parseBound(value)
		return err
	}
}

// oneOf checks that a value is one of a list.
func oneOf(value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", value, strings.Join(allowed, ", "))
}

func either(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}

// valued is name=value; empty without a value.
func valued(name, value string) string { return either(value != "", name+"="+value, "") }

// counted is name=n; empty where n is 0.
func counted(name string, n int64) string { return either(n != 0, fmt.Sprintf("%s=%d", name, n), "") }
