package oracle

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Row is one set of mkfs features to compare.
type Row struct {
	Name string
	Mkfs []string
	Tune []string // arguments of tune2fs, for what mkfs has no option for
	// Debugfs is a command for what neither has one for.
	Debugfs string
	Size    int64 // bytes; 0: 128 MiB
	Fill    Filling
	// Offline images are of a kind that this kernel cannot mount: mkfs fills them from a directory, and debugfs reads
	// them.
	Offline bool
	// Journal is the size of an external journal in KiB.
	Journal int
}

// few is a number of names, and many those with VARVE_ORACLE_ALL=1.
func few(names, many int) int {
	if os.Getenv("VARVE_ORACLE_ALL") == "1" {
		return many
	}
	return names
}

var (
	full = Filling{Wide: few(600, 3000), Xattrs: true, Trees: true}
	old  = Filling{Wide: few(600, 2000), Xattrs: true, Old: true}
	// debugfs is slow.
	offline = Filling{Wide: few(100, 400), Xattrs: true, Trees: true}
)

func with(f Filling, change func(*Filling)) Filling {
	change(&f)
	return f
}

// Rows are the sets of features that what varve reads is compared for.
var Rows = []Row{
	{Name: "default", Fill: full},
	{Name: "ext2-1k", Mkfs: []string{"-t", "ext2", "-b", "1024", "-I", "128"}, Fill: old},
	{Name: "ext2-2k", Mkfs: []string{"-t", "ext2", "-b", "2048"}, Fill: full},
	{Name: "ext2-4k-no-filetype", Mkfs: []string{"-t", "ext2", "-O", "^filetype,^dir_index"}, Fill: old},
	{Name: "ext3", Mkfs: []string{"-t", "ext3", "-b", "1024"}, Fill: full},
	{Name: "ext3-128-byte-inodes", Mkfs: []string{"-t", "ext3", "-I", "128"}, Fill: old},
	{Name: "rev0", Mkfs: []string{"-t", "ext2", "-r", "0", "-b", "1024", "-O", "none"},
		Fill: Filling{Wide: 500, Old: true}},
	{Name: "ext4-1k", Mkfs: []string{"-b", "1024"}, Fill: full},
	{Name: "ext4-2k", Mkfs: []string{"-b", "2048"}, Fill: full},
	{Name: "ext4-1k-no-csum", Mkfs: []string{"-b", "1024", "-O", "^metadata_csum,^64bit"}, Fill: full},
	{Name: "gdt-csum", Mkfs: []string{"-O", "^metadata_csum,uninit_bg"}, Fill: full},
	{Name: "gdt-csum-64bit", Mkfs: []string{"-b", "1024", "-O", "^metadata_csum,uninit_bg,64bit"}, Fill: full},
	{Name: "csum-seed-orphan-file", Mkfs: []string{"-O", "metadata_csum_seed,orphan_file"}, Fill: full},
	{Name: "no-extents", Mkfs: []string{"-O", "^extent,^64bit", "-b", "1024"}, Fill: full},
	{Name: "meta-bg", Mkfs: []string{"-b", "1024", "-O", "meta_bg,^resize_inode"}, Fill: full},
	{Name: "meta-bg-32bit", Mkfs: []string{"-b", "1024", "-O", "meta_bg,^resize_inode,^64bit,^sparse_super"}, Fill: full},
	{Name: "sparse-super2", Mkfs: []string{"-b", "1024", "-O", "sparse_super2,^resize_inode"}, Fill: full},
	{Name: "no-flex-bg", Mkfs: []string{"-O", "^flex_bg", "-g", "8192"}, Fill: full},
	{Name: "bigalloc", Mkfs: []string{"-b", "4096", "-O", "bigalloc", "-C", "16384"}, Fill: full},
	{Name: "bigalloc-1k", Mkfs: []string{"-b", "1024", "-O", "bigalloc", "-C", "4096"}, Fill: full},
	{Name: "inline-data", Mkfs: []string{"-O", "inline_data"}, Fill: full},
	{Name: "inline-data-1k-large-inodes", Mkfs: []string{"-O", "inline_data", "-b", "1024", "-I", "1024"}, Fill: full},
	{Name: "ea-inode", Mkfs: []string{"-O", "ea_inode"}, Fill: with(full, func(f *Filling) { f.Large = true })},
	{Name: "large-inodes", Mkfs: []string{"-I", "1024"}, Fill: full},
	{Name: "large-dir", Mkfs: []string{"-O", "large_dir", "-b", "1024"},
		Fill: with(full, func(f *Filling) { f.Wide = few(4000, 30000) }), Size: 256 << 20},
	{Name: "two-level-htree", Mkfs: []string{"-b", "1024"},
		Fill: with(full, func(f *Filling) { f.Wide = few(3000, 20000) }), Size: 256 << 20},
	{Name: "hash-tea", Tune: []string{"-E", "hash_alg=tea"}, Mkfs: []string{"-b", "1024"}, Fill: full},
	{Name: "hash-legacy", Tune: []string{"-E", "hash_alg=legacy"}, Mkfs: []string{"-b", "1024"}, Fill: full},
	{Name: "hash-unsigned", Mkfs: []string{"-b", "1024"}, Debugfs: "set_super_value flags 2", Fill: full},
	{Name: "hash-tea-unsigned", Mkfs: []string{"-b", "1024"}, Tune: []string{"-E", "hash_alg=tea"},
		Debugfs: "set_super_value flags 2", Fill: full},
	{Name: "hash-legacy-unsigned", Mkfs: []string{"-b", "1024"}, Tune: []string{"-E", "hash_alg=legacy"},
		Debugfs: "set_super_value flags 2", Fill: full},
	{Name: "no-huge-file", Mkfs: []string{"-O", "^huge_file,^dir_nlink,^large_file"}, Fill: full},
	{Name: "project", Mkfs: []string{"-O", "project"}, Offline: true, Fill: offline},
	{Name: "quota", Mkfs: []string{"-O", "project,quota", "-E", "quotatype=usrquota:grpquota:prjquota"}, Offline: true,
		Fill: offline},
	{Name: "mmp", Mkfs: []string{"-O", "mmp"}, Fill: full},
	{Name: "fast-commit", Mkfs: []string{"-O", "fast_commit"}, Fill: full},
	{Name: "verity-stable-inodes", Mkfs: []string{"-O", "verity,stable_inodes", "-U",
		"7d1f5a2e-35b8-4b6c-9f0e-4a2ab1c9d0e1"}, Offline: true, Fill: offline},
	{Name: "external-journal", Journal: 8192, Fill: full},
	{Name: "casefold", Mkfs: []string{"-O", "casefold", "-E", "encoding=utf8"}, Offline: true, Fill: offline},
	{Name: "16k", Mkfs: []string{"-b", "16384"}, Offline: true, Fill: offline, Size: 512 << 20},
	{Name: "64k", Mkfs: []string{"-b", "65536"}, Offline: true, Fill: offline, Size: 1 << 30},
	{Name: "64k-no-csum-ext2", Mkfs: []string{"-t", "ext2", "-b", "65536"}, Offline: true,
		Fill: with(offline, func(f *Filling) { f.Old = true }), Size: 1 << 30},
}

// Build makes and fills the row's image, and returns its path and that of its external journal, if it has one.
func (r Row) Build(t testing.TB) (image, journal string) {
	t.Helper()
	Need(t, "mkfs.ext4", "debugfs", "e2fsck", "setfacl")
	NeedRoot(t)
	size := r.Size
	if size == 0 {
		size = 128 << 20
	}
	args := r.Mkfs
	if !slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "bigalloc") }) { // mkfs miscounts these
		args = append([]string{"-N", "40000"}, args...)
	}
	switch {
	case r.Offline:
		source := t.TempDir()
		Fill(t, source, r.Fill)
		return NewImage(t, size, append(args, "-d", source)...), ""
	case r.Journal > 0:
		return r.buildExternal(t, size, args)
	}
	image = NewImage(t, size, args...)
	if r.Tune != nil {
		MustRun(t, "tune2fs", append(slices.Clone(r.Tune), image)...)
	}
	if r.Debugfs != "" {
		MustRun(t, "debugfs", "-w", "-R", r.Debugfs, image)
	}
	dir, unmount := MountKernel(t, image, "")
	Fill(t, dir, r.Fill)
	unmount()
	return image, ""
}

// buildExternal makes an image whose journal is another image. mkfs and the kernel want block devices for that.
func (r Row) buildExternal(t testing.TB, size int64, args []string) (image, journal string) {
	t.Helper()
	journal = NewImage(t, int64(r.Journal)<<10, "-O", "journal_dev", "-b", "4096")
	journalLoop, detachJournal := Loop(t, journal)
	defer detachJournal()
	image = t.TempDir() + "/image"
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	MustRun(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-b", "4096", "-J", "device=" + journalLoop}, args...),
		image)...)
	dir, unmount := MountKernel(t, image, "journal_path="+journalLoop)
	Fill(t, dir, r.Fill)
	unmount()
	return image, journal
}
