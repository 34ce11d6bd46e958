// Package feature explains the features of a superblock: what each means, whether varve reads and writes it, and what
// to do about one that keeps a file system from being mounted.
package feature

import (
	"errors"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Feature is one feature bit that a superblock has.
type Feature struct {
	Name    string `json:"name"`
	Class   string `json:"class"` // compat, incompat or ro_compat
	Bit     uint32 `json:"bit"`
	Meaning string `json:"meaning"`
	Read    bool   `json:"read_only"`  // varve mounts it read-only
	Write   bool   `json:"read_write"` // and read-write
	Overlay bool   `json:"overlay"`    // and read-write with the changes beside it
	Advice  string `json:"advice,omitempty"`
}

// Of lists the features of a superblock. Whether one is written is asked of the same check that a mount makes, for a
// superblock with that bit alone.
func Of(s *disk.Superblock) []Feature {
	out := []Feature{}
	for i := range 32 {
		bit := uint32(1) << i
		if uint32(s.Compat)&bit != 0 {
			out = append(out, judge("compat", bit, disk.Compat(bit).String(), compatMeaning[disk.Compat(bit)], s,
				func(one *disk.Superblock) { one.Compat = disk.Compat(bit) }))
		}
	}
	for i := range 32 {
		bit := uint32(1) << i
		if uint32(s.Incompat)&bit != 0 {
			out = append(out, judge("incompat", bit, disk.Incompat(bit).String(), incompatMeaning[disk.Incompat(bit)], s,
				func(one *disk.Superblock) { one.Incompat = disk.Incompat(bit) }))
		}
	}
	for i := range 32 {
		bit := uint32(1) << i
		if uint32(s.ROCompat)&bit != 0 {
			out = append(out, judge("ro_compat", bit, disk.ROCompat(bit).String(), roMeaning[disk.ROCompat(bit)], s,
				func(one *disk.Superblock) {
					one.ROCompat = disk.ROCompat(bit)
					if one.ROCompat == disk.ROCompatBigalloc { // which depends on another one
						one.Incompat = s.Incompat & disk.IncompatExtents
					}
				}))
		}
	}
	return out
}

// judge asks about one feature.
func judge(class string, bit uint32, name, meaning string, s *disk.Superblock, only func(*disk.Superblock)) Feature {
	one := *s
	one.Compat, one.Incompat, one.ROCompat = 0, 0, 0
	one.CreatorOS, one.BlocksPerGroup = 0, max(s.BlocksPerGroup, 256)
	only(&one)
	f := Feature{Name: name, Class: class, Bit: bit, Meaning: meaning}
	if f.Meaning == "" {
		f.Meaning = "not known to varve"
	}
	f.Read = one.CheckReadable() == nil
	err := ext4.CheckWritable(&one)
	f.Write = err == nil
	f.Overlay = f.Write
	var unsupported *ondisk.UnsupportedError
	if errors.As(err, &unsupported) {
		f.Advice = unsupported.Advice
	}
	if advice, ok := advice[name]; ok && !f.Write {
		f.Advice = advice
	}
	return f
}

// advice says more than the checks do about features that are not mounted, or not written.
var advice = map[string]string{
	"compression": "no kernel has it: e2fsck and dumpe2fs tell what is left",
	"journal_dev": "this is an external journal: name the file system's image, and this one with --journal-device",
	"dirdata":     "of Lustre: mount it with Lustre's ldiskfs",
	"snapshot":    "of a kernel that was never released: read it only",
	"replica":     "read it only",
	"read-only":   "the image says that nobody may write to it: tune2fs -O ^read-only ends that",
	"shared_blocks": "blocks are shared by files, as in Android's images: read it only, or give each file its own with " +
		"e2fsck -E unshare_blocks",
}

var compatMeaning = map[disk.Compat]string{
	disk.CompatDirPrealloc:  "blocks are kept for directories that grow",
	disk.CompatImagicInodes: "inodes of AFS",
	disk.CompatHasJournal:   "there is a journal",
	disk.CompatExtAttr:      "files have extended attributes",
	disk.CompatResizeInode:  "blocks are kept for more group descriptors",
	disk.CompatDirIndex:     "directories have hash trees",
	disk.CompatLazyBG:       "groups without blocks",
	disk.CompatExclBitmap:   "bitmaps of blocks that snapshots leave out",
	disk.CompatSparseSuper2: "two copies of the superblock at most",
	disk.CompatFastCommit:   "small changes are logged as records, not as blocks",
	disk.CompatStableInodes: "inode numbers and the UUID do not change",
	disk.CompatOrphanFile:   "inodes to be freed are listed in a file",
}

var incompatMeaning = map[disk.Incompat]string{
	disk.IncompatCompression: "files are compressed",
	disk.IncompatFiletype:    "directory entries have the file's type",
	disk.IncompatRecover:     "the journal has changes that are not recovered",
	disk.IncompatJournalDev:  "an external journal, without files",
	disk.IncompatMetaBG:      "group descriptors are spread over the groups",
	disk.IncompatExtents:     "files are mapped by extents",
	disk.Incompat64Bit:       "block numbers have 64 bits",
	disk.IncompatMMP:         "two mounts at once are detected",
	disk.IncompatFlexBG:      "tables of several groups lie together",
	disk.IncompatEAInode:     "large attribute values lie in inodes of their own",
	disk.IncompatDirdata:     "directory entries have data",
	disk.IncompatCsumSeed:    "the seed of checksums is stored",
	disk.IncompatLargedir:    "directories of more than 2 GiB, hash trees of three levels",
	disk.IncompatInlineData:  "small files and directories lie in their inodes",
	disk.IncompatEncrypt:     "files may be encrypted",
	disk.IncompatCasefold:    "directories may ignore case",
}

var roMeaning = map[disk.ROCompat]string{
	disk.ROCompatSparseSuper:   "few groups have a copy of the superblock",
	disk.ROCompatLargeFile:     "files of more than 2 GiB",
	disk.ROCompatBtreeDir:      "never used",
	disk.ROCompatHugeFile:      "files of more than 2 TiB",
	disk.ROCompatGDTCsum:       "group descriptors have checksums, unused tables are not initialised",
	disk.ROCompatDirNlink:      "directories may have any number of subdirectories",
	disk.ROCompatExtraIsize:    "inodes have room for more fields",
	disk.ROCompatHasSnapshot:   "there are snapshots",
	disk.ROCompatQuota:         "usage of users and groups is kept",
	disk.ROCompatBigalloc:      "space is allocated in clusters of blocks",
	disk.ROCompatMetadataCsum:  "metadata has checksums",
	disk.ROCompatReplica:       "replicas of files",
	disk.ROCompatReadonly:      "nobody may write to the file system",
	disk.ROCompatProject:       "inodes have a project",
	disk.ROCompatSharedBlocks:  "files share blocks",
	disk.ROCompatVerity:        "files may be under fs-verity",
	disk.ROCompatOrphanPresent: "the orphan file is not empty",
}
