package blockcache

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/diskfs/go-diskfs/partition"
)

// Partition is one partition of a disk image.
type Partition struct {
	Number int    // from 1 on, as the table numbers them
	Offset int64  // bytes
	Size   int64  // bytes
	Label  string // GPT only
	UUID   string
}

// Partitions reads the partition table (GPT or MBR) of a device. scheme is "gpt" or "mbr"; without a table it is "".
// Logical partitions inside an extended one are not listed.
func Partitions(d Device) (scheme string, parts []Partition) {
	for _, sector := range []int{512, 4096} {
		if !saneGPT(d, int64(sector)) || !saneGPT(d, d.Size()-int64(sector)) {
			continue
		}
		table, err := readTable(d, sector)
		if err != nil {
			continue
		}
		for i, p := range table.GetPartitions() {
			if p == nil || p.GetSize() <= 0 || p.GetStart() <= 0 || p.GetStart() >= d.Size() {
				continue
			}
			number := p.GetIndex()
			if number == 0 {
				number = i + 1
			}
			parts = append(parts, Partition{number, p.GetStart(), min(p.GetSize(), d.Size()-p.GetStart()),
				strings.TrimRight(p.Label(), "\x00"), p.UUID()})
		}
		if len(parts) > 0 {
			return table.Type(), parts
		}
	}
	return "", nil
}

// maxEntries and the entry sizes bound what the table's decoder allocates.
const (
	maxEntries   = 1024
	minEntrySize = 128
	maxEntrySize = 4096
)

// saneGPT reports whether what lies at offset is no GPT header, or one whose table has a plausible size (UEFI
// specification, "GUID Partition Table (GPT) Disk Layout").
func saneGPT(d Device, offset int64) bool {
	p := make([]byte, 92)
	if n, _ := d.ReadAt(p, offset); n < len(p) || string(p[:8]) != "EFI PART" {
		return true
	}
	count, size := binary.LittleEndian.Uint32(p[80:]), binary.LittleEndian.Uint32(p[84:])
	return count <= maxEntries && size >= minEntrySize && size <= maxEntrySize
}

// readTable keeps a panic of the table's decoder on a damaged table from ending the program.
func readTable(d Device, sector int) (table partition.Table, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("partition table: %v", r)
		}
	}()
	return partition.Read(&diskFile{SectionReader: io.NewSectionReader(d, 0, d.Size())}, sector, sector)
}

// diskFile is a Device as go-diskfs wants one.
type diskFile struct{ *io.SectionReader }

func (diskFile) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (diskFile) Close() error               { return nil }
