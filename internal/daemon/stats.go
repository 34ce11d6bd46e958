package daemon

import (
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/mvcc"
)

// Stats are the statistics of a live mount.
type Stats struct {
	SchemaVersion int             `json:"schema_version"`
	Image         string          `json:"image"`
	Options       string          `json:"options"`
	Policy        string          `json:"policy"`
	Operations    []ext4.OpStats  `json:"operations"`
	Kinds         []KindConflicts `json:"conflicts_by_kind"`
	Hot           []HotBlock      `json:"hottest_blocks"`
	Store         mvcc.Stats      `json:"store"`
	Free          uint64          `json:"free_blocks"`
	FreeInodes    uint64          `json:"free_inodes"`
	BitmapBytes   int64           `json:"bitmap_bytes"`     // memory of the groups' bitmaps
	Failed        string          `json:"failed,omitempty"` // why no more changes are taken
}

// KindConflicts are the conflicts at one kind of block.
type KindConflicts struct {
	Kind   string `json:"kind"`
	Merges int64  `json:"merges"`
	Aborts int64  `json:"aborts"`
	Waits  int64  `json:"waits"`
	Waited int64  `json:"waited_ns"`
}

// HotBlock is a block with many conflicts.
type HotBlock struct {
	Block     uint64 `json:"block"`
	What      string `json:"what"`
	Conflicts uint64 `json:"conflicts"`
}

// mostHot bounds the blocks with most conflicts in Stats.
const mostHot = 10

func (s *session) statsOf(w *volume.Writable) Stats {
	m := Stats{
		SchemaVersion: output.SchemaVersion, Image: s.Fuse.Source, Options: s.InForce, Policy: s.Write.Policy.String(),
		Operations: w.Operations(), Kinds: []KindConflicts{}, Hot: []HotBlock{}, Store: w.Store.Stats(),
		BitmapBytes: w.BitmapBytes(),
	}
	for _, k := range w.Store.Kinds() {
		m.Kinds = append(m.Kinds, KindConflicts{ext4.KindName(k.Kind), k.Merges, k.Aborts, k.Waits, int64(k.Waited)})
	}
	for _, h := range m.Store.Hot[:min(mostHot, len(m.Store.Hot))] {
		m.Hot = append(m.Hot, HotBlock{uint64(h.Block), w.Describe(block.Number(h.Block)), h.Count})
	}
	if st, err := w.Stat(); err == nil {
		m.Free, m.FreeInodes = st.Free, st.FreeInodes
	}
	if err := w.Store.Err(); err != nil {
		m.Failed = err.Error()
	}
	return m
}
