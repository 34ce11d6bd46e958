package daemon

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestMounted_String: what a mount says of itself, by what it found in the journal.
func TestMounted_String(t *testing.T) {
	for _, c := range []struct {
		blocks, orphans int
		writable        bool
		says            string
	}{
		{0, 0, false, ""},
		{0, 0, true, ""},
		{3, 0, false, "; 3 blocks come from the journal, which was replayed in memory"},
		{3, 2, true, "; recovered 3 blocks from the journal, and finished 2 orphan inodes"},
		{0, 2, true, "; recovered 0 blocks from the journal, and finished 2 orphan inodes"},
	} {
		m := Mounted{Image: "disk.img", Dir: "/mnt", Type: "ext4", Options: "ro", ReplayedBlocks: c.blocks,
			Orphans: c.orphans, Writable: c.writable}
		if got, want := m.String(), "disk.img mounted on /mnt: ext4, ro"+c.says; got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

// TestControl_Exchange: a daemon answers each question with its figures of that moment. It takes the place of a socket
// that a killed daemon left, and leaves that of its successor alone.
func TestControl_Exchange(t *testing.T) {
	openTemp(t)
	const dev = 12345
	asked := uint64(0)
	stats := func(request string) any {
		asked++
		return Stats{Image: "disk.img", Free: asked, Policy: request}
	}
	first, err := serveControl(dev, stats)
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); want <= 2; want++ {
		if m, err := ask(dev, os.Getuid()); err != nil || m.Image != "disk.img" || m.Free != want ||
			m.Policy != requestStats {
			t.Fatalf("question %d: %+v, %v", want, m, err)
		}
	}
	second, err := serveControl(dev, func(string) any { return Stats{Image: "successor"} })
	if err != nil {
		t.Fatal(err)
	}
	first()
	if m, err := ask(dev, os.Getuid()); err != nil || m.Image != "successor" {
		t.Errorf("its successor: %+v, %v", m, err)
	}
	second()
	if m, err := ask(dev, os.Getuid()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("no daemon answers: %+v, %v", m, err)
	}
}

// TestStats_Lists: figures of a mount on which nothing was done have empty lists, not null, and its counts.
func TestStats_Lists(t *testing.T) {
	w, err := volume.OpenWritable(volume.Spec{Image: oracle.NewImage(t, 8<<20, "-t", "ext4")}, volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := &session{Config: Config{Fuse: fuse.Options{Source: "disk.img"}, InForce: "rw"}}
	m := s.statsOf(w)
	p, err := json.Marshal(m)
	if err != nil || strings.Contains(string(p), "null") {
		t.Errorf("%s, %v", p, err)
	}
	if st, err := w.Stat(); err != nil || m.Free != st.Free || m.FreeInodes != st.FreeInodes || m.Free == 0 {
		t.Errorf("%d blocks and %d inodes are free: %v", m.Free, m.FreeInodes, err)
	}
	if m.Image != "disk.img" || m.Options != "rw" || m.Failed != "" || len(m.Operations) == 0 {
		t.Errorf("%s", p)
	}
}
