package survey

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Bucket counts what is at most so large, and larger than the bucket before says.
type Bucket struct {
	UpTo  uint64 `json:"up_to"`
	Count uint64 `json:"count"`
	Sum   uint64 `json:"sum"` // of the sizes
}

// histogram has a bucket for each power of two.
type histogram [66]Bucket

func (h *histogram) add(v uint64) {
	i := 0
	if v > 0 {
		i = 1 + bits.Len64(v-1)
	}
	h[i].Count++
	h[i].Sum += v
}

// buckets are those from the first to the last that counts something.
func (h *histogram) buckets() []Bucket {
	first, end := -1, 0
	for i := range h {
		if h[i].Count > 0 {
			if end = i + 1; first < 0 {
				first = i
			}
		}
		if i > 0 {
			h[i].UpTo = 1 << min(i-1, 63)
		}
	}
	if first < 0 {
		return []Bucket{}
	}
	return slices.Clone(h[first:end])
}

// Large is one of the largest files.
type Large struct {
	Path  string `json:"path"`
	Bytes uint64 `json:"size_bytes"`
}

// Files counts the files of a tree. A file with several names counts once.
type Files struct {
	Files       uint64   `json:"files"`
	Directories uint64   `json:"directories"`
	Symlinks    uint64   `json:"symlinks"`
	Others      uint64   `json:"others"`
	Names       uint64   `json:"names"`
	Bytes       uint64   `json:"size_bytes"`      // of files
	Allocated   uint64   `json:"allocated_bytes"` // by all
	Extents     uint64   `json:"extents"`         // of files: pieces that lie on the image without a gap
	Fragmented  uint64   `json:"fragmented_files"`
	Sizes       []Bucket `json:"size_histogram"`
	PerFile     []Bucket `json:"extent_histogram"` // files by the number of their extents
	Largest     []Large  `json:"largest_files"`

	// Piece is called for each piece of a file, if it is set: its first block, its length in blocks, and whether it is
	// the file's first.
	Piece func(start, blocks uint64, first bool) `json:"-"`

	sizes, extents histogram
	seen           map[ext4.Ino]bool
	budget         int64 // runs that may still be read; set by the first file
	counted        bool
}

// maxLargest is how many of the largest files are listed.
const maxLargest = 10

// Add counts a name of an inode. path is called where it is one of the largest files so far. The error is damage.
func (f *Files) Add(path func() string, n *ext4.Inode) error {
	f.Names++
	if n.Links > 1 && !n.IsDir() {
		if f.seen[n.Ino] {
			return nil
		}
		if f.seen == nil {
			f.seen = map[ext4.Ino]bool{}
		}
		f.seen[n.Ino] = true
	}
	f.Allocated += n.StatBlocks() * 512
	switch {
	case n.IsDir():
		f.Directories++
		return nil
	case n.IsSymlink():
		f.Symlinks++
		return nil
	case !n.IsRegular():
		f.Others++
		return nil
	}
	f.Files++
	f.Bytes += n.Size
	f.sizes.add(n.Size)
	f.large(path, n.Size)
	return f.pieces(n)
}

// large keeps the largest files.
func (f *Files) large(path func() string, size uint64) {
	i, _ := slices.BinarySearchFunc(f.Largest, size, func(l Large, size uint64) int {
		if l.Bytes >= size {
			return -1
		}
		return 1
	})
	if i < maxLargest {
		f.Largest = slices.Insert(f.Largest, i, Large{path(), size})
		f.Largest = f.Largest[:min(len(f.Largest), maxLargest)]
	}
}

// pieces counts the extents of a file. All files together may have no more runs than an image has blocks, twice over:
// the few indirect blocks of a crafted file can stand for 2^30 of them.
func (f *Files) pieces(n *ext4.Inode) error {
	s := n.FS().Superblock()
	if !f.counted {
		f.counted, f.budget = true, 2*int64(s.Blocks)+int64(s.Inodes)
	}
	if n.Has(disk.InodeInlineData) {
		f.extents.add(0)
		return nil
	}
	size := uint64(s.BlockSize)
	count, next := uint64(0), uint64(0)
	for b, end := uint64(0), n.Size/size+(n.Size%size+size-1)/size; b < end; {
		if f.budget--; f.budget < 0 {
			return ondisk.Corruptf(fmt.Sprintf("inode %d", n.Ino), "the files have more extents than the image has blocks")
		}
		r, err := n.Map(ext4.FileBlock(b))
		if err != nil {
			return err
		}
		if r.Kind != ext4.Hole {
			if uint64(r.Start) != next {
				count++
			}
			if f.Piece != nil {
				f.Piece(uint64(r.Start), min(r.Len, end-b), count == 1 || uint64(r.Start) == next)
			}
			next = uint64(r.Start) + r.Len
		}
		b += r.Len
	}
	f.Extents += count
	if count > 1 {
		f.Fragmented++
	}
	f.extents.add(count)
	return nil
}

// Finish makes the histograms.
func (f *Files) Finish() {
	f.Sizes, f.PerFile = f.sizes.buckets(), f.extents.buckets()
	if f.Largest == nil {
		f.Largest = []Large{}
	}
	f.seen = nil
}

// Free is the free space: how much, and in what pieces.
type Free struct {
	Blocks  uint64   `json:"blocks"`
	Spans   uint64   `json:"spans"`
	Largest uint64   `json:"largest_blocks"`
	PerSpan []Bucket `json:"span_histogram"` // spans by their length in blocks

	spans histogram
	last  Span // that may go on in the next group
}

// Add counts the free space of a group, the groups in their order.
func (f *Free) Add(g *Group) {
	for _, s := range g.FreeSpans {
		f.Blocks += s.Last - s.First + 1
		if f.last.Last+1 == s.First && f.Spans > 0 {
			f.last.Last = s.Last
			continue
		}
		f.close()
		f.last = s
		f.Spans++
	}
}

// close counts the span that ends.
func (f *Free) close() {
	if f.Spans == 0 {
		return
	}
	n := f.last.Last - f.last.First + 1
	f.Largest = max(f.Largest, n)
	f.spans.add(n)
}

// Finish makes the histogram.
func (f *Free) Finish() {
	f.close()
	f.PerSpan = f.spans.buckets()
}
