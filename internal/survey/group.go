// Package survey counts what a file system has: its groups, its journal, its files and their extents.
package survey

import (
	"context"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Span is numbers from First to Last.
type Span struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Group describes a block group, as dumpe2fs does. Counts are those of its descriptor, free spans those of its bitmaps.
type Group struct {
	Group        uint32   `json:"group"`
	Blocks       Span     `json:"blocks"`
	Flags        []string `json:"flags"`
	Checksum     uint16   `json:"checksum"`
	Super        bool     `json:"superblock"`   // it has a superblock or a copy
	OwnAtStart   uint64   `json:"start_blocks"` // superblock, descriptors, and blocks kept for more of them
	BlockBitmap  uint64   `json:"block_bitmap"`
	InodeBitmap  uint64   `json:"inode_bitmap"`
	InodeTable   Span     `json:"inode_table"`
	FreeBlocks   uint64   `json:"free_blocks"`
	FreeInodes   uint32   `json:"free_inodes"`
	Directories  uint32   `json:"directories"`
	UnusedInodes uint32   `json:"unused_inodes"`
	FreeSpans    []Span   `json:"free_block_spans"`
	InodeSpans   []Span   `json:"free_inode_spans"`
	Problem      string   `json:"problem,omitempty"`

	Err error `json:"-"` // what Problem is the text of
}

// Groups calls visit for each block group. One that is damaged is described as far as it can be.
func Groups(ctx context.Context, fs *ext4.FS, visit func(*Group) error) error {
	s := fs.Superblock()
	for g := range s.Groups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(describeGroup(fs, g)); err != nil {
			return err
		}
	}
	return nil
}

func describeGroup(fs *ext4.FS, g disk.Group) *Group {
	s := fs.Superblock()
	first := uint64(s.GroupFirst(g))
	out := &Group{Group: uint32(g), Blocks: Span{first, first + uint64(s.GroupBlocks(g)) - 1}, Flags: []string{},
		Super: s.HasSuper(g), OwnAtStart: fs.OwnAtStart(g), FreeSpans: []Span{}, InodeSpans: []Span{}}
	at, err := fs.StoredGroup(g)
	if err != nil {
		return out.wrong(err)
	}
	d, err := s.DecodeGroupDesc(g, at.Bytes)
	out.wrong(err).wrong(s.CheckGroupDesc(g, at.Bytes))
	if s.HasGroupCsum() {
		out.Checksum = d.Checksum
		for flag, name := range []string{"INODE_UNINIT", "BLOCK_UNINIT", "ITABLE_ZEROED"} {
			if d.Flags&(1<<flag) != 0 {
				out.Flags = append(out.Flags, name)
			}
		}
		out.UnusedInodes = d.ITableUnused
	}
	out.BlockBitmap, out.InodeBitmap = uint64(d.BlockBitmap), uint64(d.InodeBitmap)
	out.InodeTable = Span{uint64(d.InodeTable), uint64(d.InodeTable) + uint64(s.ITableBlocks()) - 1}
	out.FreeBlocks = uint64(d.FreeBlocks) * uint64(s.ClusterBlocks)
	out.FreeInodes, out.Directories = d.FreeInodes, d.UsedDirs
	if err != nil {
		return out
	}
	if p, err := fs.BlockBitmap(g); err != nil {
		out.wrong(err)
	} else {
		out.FreeSpans = clearSpans(p, int(s.GroupClusters(g)), first, uint64(s.ClusterBlocks))
		if n := len(out.FreeSpans); n > 0 { // the last cluster may be a part of one
			out.FreeSpans[n-1].Last = min(out.FreeSpans[n-1].Last, out.Blocks.Last)
		}
	}
	if p, err := fs.InodeBitmap(g); err != nil {
		out.wrong(err)
	} else {
		out.InodeSpans = clearSpans(p, int(s.InodesPerGroup), uint64(g)*uint64(s.InodesPerGroup)+1, 1)
	}
	return out
}

// wrong notes what is wrong. The first problem stands.
func (g *Group) wrong(err error) *Group {
	if err != nil && g.Err == nil {
		g.Err, g.Problem = err, err.Error()
	}
	return g
}

// clearSpans are the spans of clear bits among the first n of a bitmap. A bit stands for so many
// numbers, from first on.
func clearSpans(p []byte, n int, first, each uint64) []Span {
	out := []Span{}
	used := func(i int) bool { return p[i/8]>>(i%8)&1 == 1 }
	for i := 0; i < n; {
		if i%8 == 0 && p[i/8] == 0xff {
			i += 8
			continue
		}
		if used(i) {
			i++
			continue
		}
		begin := i
		for i < n && !used(i) {
			i++
		}
		out = append(out, Span{first + uint64(begin)*each, first + uint64(i)*each - 1})
	}
	return out
}
