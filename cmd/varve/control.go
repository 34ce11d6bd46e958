package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/mvcc"
)

// mountStats is what a live mount tells about itself.
type mountStats struct {
	SchemaVersion int             `json:"schema_version"`
	Image         string          `json:"image"`
	Options       string          `json:"options"`
	Policy        string          `json:"policy"`
	Operations    []ext4.OpStats  `json:"operations"`
	Kinds         []kindConflicts `json:"conflicts_by_kind"`
	Hot           []hotBlock      `json:"hottest_blocks"`
	Store         mvcc.Stats      `json:"store"`
	Free          uint64          `json:"free_blocks"`
	FreeInodes    uint64          `json:"free_inodes"`
	BitmapBytes   int64           `json:"bitmap_bytes"`     // that bitmaps of groups take in memory
	Failed        string          `json:"failed,omitempty"` // why no more changes are taken
}

type kindConflicts struct {
	Kind   string `json:"kind"`
	Merges int64  `json:"merges"`
	Aborts int64  `json:"aborts"`
	Waits  int64  `json:"waits"`
	Waited int64  `json:"waited_ns"`
}

type hotBlock struct {
	Block     uint64 `json:"block"`
	What      string `json:"what"`
	Conflicts uint64 `json:"conflicts"`
}

func statsOf(w *volume.Writable, o *mountOptions) mountStats {
	m := mountStats{SchemaVersion: schemaVersion, Image: o.fuse.Source, Options: o.effective(), Policy: o.write.Policy.String(), Operations: w.Operations(),
		Kinds: []kindConflicts{}, Hot: []hotBlock{}, Store: w.Store.Stats(), BitmapBytes: w.BitmapBytes()}
	for _, k := range w.Store.Kinds() {
		m.Kinds = append(m.Kinds, kindConflicts{ext4.KindName(k.Kind), k.Merges, k.Aborts, k.Waits, int64(k.Waited)})
	}
	for i, h := range m.Store.Hot {
		if i == 10 {
			break
		}
		m.Hot = append(m.Hot, hotBlock{uint64(h.Block), w.Describe(block.Number(h.Block)), h.Count})
	}
	if s, err := w.Stat(); err == nil {
		m.Free, m.FreeInodes = s.Free, s.FreeInodes
	}
	if err := w.Store.Err(); err != nil {
		m.Failed = err.Error()
	}
	return m
}

// serveControl answers varve stats on a socket that only this user (and root) may use, until the process ends.
func serveControl(mount *fuse.Mount, stats func() mountStats) (close func(), err error) {
	dev, err := mount.Device()
	if err != nil {
		return nil, err
	}
	dir, err := makePrivate()
	if err != nil {
		return nil, err
	}
	path := dir.at(controlName(dev))
	_ = os.Remove(path) // of a daemon that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("listen in %s: %w", dir.path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	own, err := os.Lstat(path)
	if err != nil {
		l.Close()
		dir.Close()
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if peer, err := peerOf(c); err == nil && (peer == 0 || int(peer) == os.Getuid()) {
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				_ = json.NewEncoder(c).Encode(stats())
			}
			c.Close()
		}
	}()
	return func() {
		l.Close()
		if now, err := os.Lstat(path); err == nil && os.SameFile(own, now) { // another daemon may have got this mount's number meanwhile
			os.Remove(path)
		}
		dir.Close()
	}, nil
}
