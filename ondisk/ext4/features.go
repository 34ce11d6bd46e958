package ext4

import (
	"fmt"
	"strings"
)

// Compat, Incompat and ROCompat are the three feature words of a superblock (ext4 doc, "Super Block"): an
// implementation that does not know a bit may still mount (Compat), may mount read-only (ROCompat), or must refuse
// (Incompat).
type (
	Compat   uint32
	Incompat uint32
	ROCompat uint32
)

// Compatible features.
const (
	CompatDirPrealloc  Compat = 0x1
	CompatImagicInodes Compat = 0x2
	CompatHasJournal   Compat = 0x4
	CompatExtAttr      Compat = 0x8
	CompatResizeInode  Compat = 0x10
	CompatDirIndex     Compat = 0x20
	CompatLazyBG       Compat = 0x40
	CompatExclBitmap   Compat = 0x100
	CompatSparseSuper2 Compat = 0x200
	CompatFastCommit   Compat = 0x400
	CompatStableInodes Compat = 0x800
	CompatOrphanFile   Compat = 0x1000
)

// Incompatible features.
const (
	IncompatCompression Incompat = 0x1
	IncompatFiletype    Incompat = 0x2
	IncompatRecover     Incompat = 0x4
	IncompatJournalDev  Incompat = 0x8
	IncompatMetaBG      Incompat = 0x10
	IncompatExtents     Incompat = 0x40
	Incompat64Bit       Incompat = 0x80
	IncompatMMP         Incompat = 0x100
	IncompatFlexBG      Incompat = 0x200
	IncompatEAInode     Incompat = 0x400
	IncompatDirdata     Incompat = 0x1000
	IncompatCsumSeed    Incompat = 0x2000
	IncompatLargedir    Incompat = 0x4000
	IncompatInlineData  Incompat = 0x8000
	IncompatEncrypt     Incompat = 0x10000
	IncompatCasefold    Incompat = 0x20000
)

// Read-only compatible features.
const (
	ROCompatSparseSuper   ROCompat = 0x1
	ROCompatLargeFile     ROCompat = 0x2
	ROCompatBtreeDir      ROCompat = 0x4
	ROCompatHugeFile      ROCompat = 0x8
	ROCompatGDTCsum       ROCompat = 0x10
	ROCompatDirNlink      ROCompat = 0x20
	ROCompatExtraIsize    ROCompat = 0x40
	ROCompatHasSnapshot   ROCompat = 0x80
	ROCompatQuota         ROCompat = 0x100
	ROCompatBigalloc      ROCompat = 0x200
	ROCompatMetadataCsum  ROCompat = 0x400
	ROCompatReplica       ROCompat = 0x800
	ROCompatReadonly      ROCompat = 0x1000
	ROCompatProject       ROCompat = 0x2000
	ROCompatSharedBlocks  ROCompat = 0x4000
	ROCompatVerity        ROCompat = 0x8000
	ROCompatOrphanPresent ROCompat = 0x10000
)

// ReadIncompat are the incompatible features that varve can read.
const ReadIncompat = IncompatFiletype | IncompatRecover | IncompatMetaBG | IncompatExtents | Incompat64Bit |
	IncompatMMP | IncompatFlexBG | IncompatEAInode | IncompatCsumSeed | IncompatLargedir | IncompatInlineData |
	IncompatEncrypt | IncompatCasefold

var compatNames = map[uint32]string{
	0x1: "dir_prealloc", 0x2: "imagic_inodes", 0x4: "has_journal", 0x8: "ext_attr", 0x10: "resize_inode",
	0x20: "dir_index", 0x40: "lazy_bg", 0x100: "snapshot_bitmap", 0x200: "sparse_super2", 0x400: "fast_commit",
	0x800: "stable_inodes", 0x1000: "orphan_file",
}

var incompatNames = map[uint32]string{
	0x1: "compression", 0x2: "filetype", 0x4: "needs_recovery", 0x8: "journal_dev", 0x10: "meta_bg", 0x40: "extent",
	0x80: "64bit", 0x100: "mmp", 0x200: "flex_bg", 0x400: "ea_inode", 0x1000: "dirdata",
	0x2000: "metadata_csum_seed", 0x4000: "large_dir", 0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold",
}

var roCompatNames = map[uint32]string{
	0x1: "sparse_super", 0x2: "large_file", 0x4: "btree_dir", 0x8: "huge_file", 0x10: "uninit_bg", 0x20: "dir_nlink",
	0x40: "extra_isize", 0x80: "snapshot", 0x100: "quota", 0x200: "bigalloc", 0x400: "metadata_csum",
	0x800: "replica", 0x1000: "read-only", 0x2000: "project", 0x4000: "shared_blocks", 0x8000: "verity",
	0x10000: "orphan_present",
}

// featureNames lists the bits of v in ascending order by the names that e2fsprogs prints; a bit without a name is
// printed as "FEATURE_" and its class letter and number, as dumpe2fs does.
func featureNames(v uint32, class byte, names map[uint32]string) []string {
	var out []string
	for i := range 32 {
		bit := uint32(1) << i
		if v&bit == 0 {
			continue
		}
		if name, ok := names[bit]; ok {
			out = append(out, name)
		} else {
			out = append(out, fmt.Sprintf("FEATURE_%c%d", class, i))
		}
	}
	return out
}

// Names lists the features by the names that e2fsprogs prints.
func (f Compat) Names() []string { return featureNames(uint32(f), 'C', compatNames) }

// Names lists the features by the names that e2fsprogs prints.
func (f Incompat) Names() []string { return featureNames(uint32(f), 'I', incompatNames) }

// Names lists the features by the names that e2fsprogs prints.
func (f ROCompat) Names() []string { return featureNames(uint32(f), 'R', roCompatNames) }

func (f Compat) String() string   { return strings.Join(f.Names(), " ") }
func (f Incompat) String() string { return strings.Join(f.Names(), " ") }
func (f ROCompat) String() string { return strings.Join(f.Names(), " ") }
