package stress

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/wal"
)

const killWriters = 8

func TestMain(m *testing.M) {
	if dir := os.Getenv("VARVE_KILL_DIR"); dir != "" {
		fmt.Fprintln(os.Stderr, writeForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openKilled(dir string) (*mvcc.Store, func(), error) {
	home, err := blockcache.CreateDisk(filepath.Join(dir, "blocks"), 64<<12)
	if err != nil {
		return nil, nil, err
	}
	log, err := blockcache.CreateDisk(filepath.Join(dir, "wal"), 0)
	if err != nil {
		return nil, nil, err
	}
	s, _, err := mvcc.Open(mvcc.Options{BlockSize: 4096, Home: home,
		Durability: mvcc.NativeLog{Device: log, Options: wal.Options{SegmentSize: 64 << 10, MaxBytes: 256 << 10}}})
	return s, func() {
		if s != nil {
			s.Abandon()
		}
		log.Close()
		home.Close()
	}, err
}

// writeForever is the process that is killed. It prints a line for each commit that was acknowledged as durable.
func writeForever(dir string) error {
	s, _, err := openKilled(dir)
	if err != nil {
		return err
	}
	out := make(chan string, 1024)
	var wg sync.WaitGroup
	for w := range killWriters {
		wg.Go(func() {
			for err == nil {
				var n uint64
				e := s.UpdateDurable(context.Background(), func(tx *mvcc.Tx) error {
					b, err := tx.ReadBlock(block.Number(w % 3))
					if err != nil {
						return err
					}
					n = binary.LittleEndian.Uint64(b[w*64:]) + 1
					return tx.Edit(block.Number(w%3), merge.Set(uint32(w*64), binary.LittleEndian.AppendUint64(nil, n)))
				})
				if e != nil {
					panic(e)
				}
				out <- fmt.Sprintf("%d %d\n", w, n)
			}
		})
	}
	for line := range out { // unbuffered: a line that is not written was not acknowledged
		if _, err := os.Stdout.WriteString(line); err != nil {
			return err
		}
	}
	return nil
}

// TestKill_NothingAcknowledgedIsMissing kills a process that writes durably, again and again, and looks for all commits
// that it acknowledged.
func TestKill_NothingAcknowledgedIsMissing(t *testing.T) {
	rounds := 8
	if n, err := strconv.Atoi(os.Getenv("VARVE_KILL_ROUNDS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	acked := make([]uint64, killWriters)
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "VARVE_KILL_DIR="+dir)
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(30+rand.IntN(250))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		lines := 0
		for sc := bufio.NewScanner(pipe); sc.Scan(); lines++ {
			var w int
			var n uint64
			if k, _ := fmt.Sscanf(sc.Text(), "%d %d", &w, &n); k == 2 {
				acked[w] = max(acked[w], n)
			}
		}
		_ = cmd.Wait()
		s, shut, err := openKilled(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := s.View(context.Background(), func(tx *mvcc.Tx) error {
			for w, want := range acked {
				b, err := tx.ReadBlock(block.Number(w % 3))
				if err != nil {
					return err
				}
				if got := binary.LittleEndian.Uint64(b[w*64:]); got < want || got > want+uint64(1024+killWriters) {
					t.Errorf("round %d, writer %d: %d was acknowledged, and %d is there", round, w, want, got)
				}
				acked[w] = binary.LittleEndian.Uint64(b[w*64:])
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		shut()
		t.Logf("round %d: %d acknowledged", round, lines)
	}
}
