package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/varvefs/varve/bench/process"
)

// memory prints the most memory that a read-write mount takes under load, by its option memory=, and what it still has
// after idle seconds without load.
func memory(b *bench) error {
	fmt.Println("\n| memory | option, MiB | resident at most, MiB | afterwards | blocks with versions afterwards |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	for _, data := range []string{"ordered", "journal"} {
		for _, limit := range []int{16, 64} {
			t := target{"varve", func(b *bench, image string) (func() error, error) {
				return func() error { return process.Run(b.varve, "umount", b.dir) },
					process.Run(b.varve, "mount", "-q", "-o", fmt.Sprintf("rw,commit=1,data=%s,memory=%dM", data, limit), image, b.dir)
			}}
			var line string
			_, err := b.once(work{run: func(b *bench, name string) (float64, error) {
				most, left, versions, err := underLoad(b, name)
				line = fmt.Sprintf("| 8 threads create files, then 8 jobs write at random; data=%s | %d | %.0f | %.0f | %d |", data,
					limit, most, left, versions)
				return 0, err
			}}, t)
			if err != nil {
				return err
			}
			fmt.Println(line)
		}
	}
	return nil
}

// idle is how long a mount is left alone before its memory is measured again: three epochs of commit=1.
const idle = 3 * time.Second

// underLoad loads a mount and samples its memory: the most under load and what is left, in MiB, and the blocks that
// have versions then.
func underLoad(b *bench, name string) (most, left float64, versions int64, err error) {
	done, sampled := make(chan bool), make(chan float64)
	go func() {
		most := 0.0
		for {
			select {
			case <-done:
				sampled <- most
				return
			case <-time.After(20 * time.Millisecond):
				most = max(most, process.Resident(b.varve))
			}
		}
	}()
	_, err = threads(8, true, createWrite)(b, name)
	if err == nil {
		_, err = fio("randwrite", 8, "--bs=16k", "--size=64m")(b, name)
	}
	close(done)
	most = <-sampled
	time.Sleep(idle)
	out, statsErr := exec.Command(b.varve, "stats", "--json", b.dir).Output()
	var s struct{ Store struct{ Chains int64 } }
	if statsErr == nil {
		statsErr = json.Unmarshal(out, &s)
	}
	return most, process.Resident(b.varve), s.Store.Chains, errors.Join(err, statsErr)
}
