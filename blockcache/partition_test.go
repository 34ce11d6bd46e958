package blockcache

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// mbr is a disk of so many bytes with a table of partitions, each by its first sector and its sectors.
func mbr(length int, parts ...[2]uint32) Memory {
	disk := make(Memory, length)
	for i, p := range parts {
		e := disk[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], p[0])
		binary.LittleEndian.PutUint32(e[12:], p[1])
	}
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// TestPartitions_MBR: partitions are listed with their places; one that runs past the disk's end is cut there, and one
// behind it, or without a start, is left out.
func TestPartitions_MBR(t *testing.T) {
	const disk = 4 << 20
	for name, c := range map[string]struct {
		d    Memory
		want []Partition
	}{
		"two": {mbr(disk, [2]uint32{2048, 1024}, [2]uint32{4096, 2048}),
			[]Partition{{Number: 1, Offset: 1 << 20, Size: 512 << 10}, {Number: 2, Offset: 2 << 20, Size: 1 << 20}}},
		"past the end": {mbr(disk, [2]uint32{2048, 1 << 30}), []Partition{{Number: 1, Offset: 1 << 20, Size: 3 << 20}}},
		"behind the end": {mbr(disk, [2]uint32{1 << 20, 8}, [2]uint32{2048, 8}),
			[]Partition{{Number: 2, Offset: 1 << 20, Size: 4096}}},
		"none":      {mbr(disk), nil},
		"no table":  {make(Memory, disk), nil},
		"too short": {make(Memory, 100), nil},
		"empty":     {nil, nil},
	} {
		scheme, got := Partitions(c.d)
		if (scheme == "mbr") != (c.want != nil) || len(got) != len(c.want) {
			t.Errorf("%s: %q, %+v; want %+v", name, scheme, got, c.want)
			continue
		}
		for i := range got {
			if got[i].Number != c.want[i].Number || got[i].Offset != c.want[i].Offset || got[i].Size != c.want[i].Size {
				t.Errorf("%s: %+v, want %+v", name, got[i], c.want[i])
			}
		}
	}
}

// TestPartitions_Hostile: a GPT header with an absurd table allocates nothing for it.
func TestPartitions_Hostile(t *testing.T) {
	for _, c := range []struct{ count, size uint32 }{{1 << 31, 128}, {128, 1 << 31}, {maxEntries + 1, 128}, {4, 0},
		{4, minEntrySize - 1}} {
		d := make(Memory, 1<<20)
		copy(d[512:], "EFI PART")
		binary.LittleEndian.PutUint32(d[512+80:], c.count)
		binary.LittleEndian.PutUint32(d[512+84:], c.size)
		if saneGPT(d, 512) {
			t.Errorf("%d entries of %d bytes are taken", c.count, c.size)
		}
		if scheme, parts := Partitions(d); scheme != "" || parts != nil {
			t.Errorf("%d entries of %d bytes: %q, %v", c.count, c.size, scheme, parts)
		}
	}
	if !saneGPT(make(Memory, 4096), 512) || !saneGPT(make(Memory, 10), 512) {
		t.Error("a disk without a GPT is refused")
	}
}

// FuzzPartitions: every partition that is found lies on the device.
func FuzzPartitions(f *testing.F) {
	p := make([]byte, 4096)
	p[510], p[511] = 0x55, 0xaa
	p[450] = 0x83
	p[454], p[458] = 1, 4
	f.Add(p)
	g := bytes.Clone(p)
	copy(g[512:], "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
	f.Add(g)
	f.Fuzz(func(t *testing.T, p []byte) {
		_, parts := Partitions(Memory(p))
		for _, part := range parts {
			if _, err := NewWindow(Memory(p), part.Offset, part.Size); err != nil {
				t.Errorf("partition %+v: %v", part, err)
			}
		}
	})
}
