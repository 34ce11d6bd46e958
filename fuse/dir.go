package fuse

import (
	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// OpenDir needs no handle: ENOSYS has the kernel stop asking, for opening and closing both, and to keep what it
// read of directories.
//
// With auto_unmount it is answered each time: fusermount3 opens the mount point to see whether the daemon is gone, and
// without a request that would succeed for ever.
func (f *front) OpenDir(_ <-chan struct{}, _ *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	if !f.opendir {
		return gofuse.ENOSYS
	}
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE | gofuse.FOPEN_CACHE_DIR
	return gofuse.OK
}

// direntModes turns the type in a directory entry into that of stat(2).
var direntModes = [...]uint32{
	disk.FileTypeUnknown: 0, disk.FileTypeRegular: disk.ModeRegular, disk.FileTypeDir: disk.ModeDir,
	disk.FileTypeChar: disk.ModeChar, disk.FileTypeBlock: disk.ModeBlock, disk.FileTypeFIFO: disk.ModeFIFO,
	disk.FileTypeSocket: disk.ModeSocket, disk.FileTypeSymlink: disk.ModeSymlink,
}

func direntMode(typ uint8) uint32 {
	if int(typ) < len(direntModes) {
		return direntModes[typ]
	}
	return 0
}

func (f *front) ReadDir(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	return f.list(in, func(_ *ext4.Inode, e gofuse.DirEntry) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists names with the attributes of their inodes, where the process seems to want those. A name whose
// inode cannot be read is listed without: looking it up then gives the error.
func (f *front) ReadDirPlus(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	var n ext4.Inode
	names, decided := false, false
	return f.list(in, func(dir *ext4.Inode, e gofuse.DirEntry) bool {
		if !decided {
			names, decided = f.listings.names(in.Pid, in.NodeId, in.Offset, dir.Size), true
		}
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if e.Name == "." || e.Name == ".." || names && e.Mode != 0 && e.Mode != disk.ModeDir {
			return true
		}
		if err := dir.ReadChild(&n, e.Name, ext4.Ino(e.Ino)); err == nil {
			fillEntry(entry, &n)
			if !mutant.Off(mutant.ListingCount) {
				f.lookups.add(entry.NodeId)
			}
			out.FixMode(uint32(n.Mode))
		}
		return true
	})
}

// list adds entries from the request's offset on until add refuses one. An error is held back until the
// entries beside it were delivered.
func (f *front) list(in *gofuse.ReadIn, add func(*ext4.Inode, gofuse.DirEntry) bool) gofuse.Status {
	var dir ext4.Inode
	if status := f.inode(&dir, in.NodeId); !status.Ok() {
		return status
	}
	added := 0
	err := dir.ReadDir(int64(in.Offset), func(e ext4.Dirent) bool {
		ok := add(
			&dir,
			gofuse.DirEntry{Mode: direntMode(e.Type), Name: string(e.Name), Ino: uint64(e.Ino), Off: uint64(e.Next)},
		)
		if ok {
			added++
		}
		return ok
	})
	if err != nil && added > 0 {
		f.report("readdir", err)
		return gofuse.OK
	}
	return f.status("readdir", err)
}
