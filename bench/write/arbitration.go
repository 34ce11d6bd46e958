package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/varvefs/varve/bench/process"
)

// arbitration prints how the policy serves writers that share blocks: threads in directories of their own, all in
// one group, and threads that write into one file. Figures are operations a second and aborted attempts.
func arbitration(b *bench) error {
	fmt.Println("\n| arbitration through the mount | merge: ops/s | aborts | strict: ops/s | aborts " +
		"| aborts, strict over merge | rate, merge over strict |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	type load struct {
		name string
		run  func(*bench, string) (float64, error)
	}
	var loads []load
	for _, n := range []int{8, 64} {
		loads = append(loads, load{fmt.Sprintf("create, write, remove; %d threads, own directories", n),
			threads(n, true, createWrite)},
			load{fmt.Sprintf("4 KiB direct writes into one file, %d threads", n),
				fio("randwrite", n, "--bs=4k", "--direct=1", "--size=64m", "--filename=one", "--thread")})
	}
	for _, l := range loads {
		rate, aborts := map[string]float64{}, map[string]int64{}
		for _, policy := range []string{"merge", "strict"} {
			t := target{"varve", func(b *bench, image string) (func() error, error) {
				return func() error {
					n, err := abortsOf(b)
					aborts[policy] = n
					return errors.Join(err, process.Run(b.varve, "umount", b.dir))
				}, process.Run(b.varve, "mount", "-q", "-o", "rw,policy="+policy, image, b.dir)
			}}
			f, err := b.once(work{run: l.run}, t)
			if err != nil {
				return err
			}
			rate[policy] = f
		}
		fmt.Printf("| %s | %.0f | %d | %.0f | %d | %.1f | %.2f |\n", l.name, rate["merge"], aborts["merge"], rate["strict"],
			aborts["strict"],
			float64(aborts["strict"])/float64(max(aborts["merge"], 1)), rate["merge"]/rate["strict"])
	}
	return nil
}

// abortsOf asks a mount how many attempts were aborted.
func abortsOf(b *bench) (n int64, err error) {
	out, err := exec.Command(b.varve, "stats", "--json", b.dir).Output()
	if err != nil {
		return 0, err
	}
	var s struct {
		Operations []struct{ Aborts int64 }
	}
	err = json.Unmarshal(out, &s)
	for _, o := range s.Operations {
		n += o.Aborts
	}
	return n, err
}

func createWrite(dir string, thread, i int) error {
	p := filepath.Join(dir, fmt.Sprintf("t%d-%d", thread, i%50))
	if err := os.WriteFile(p, make([]byte, 3000), 0o644); err != nil {
		return err
	}
	if i%50 == 49 {
		return os.Remove(p)
	}
	return nil
}
