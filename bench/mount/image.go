package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/varvefs/varve/bench/process"
)

// makeImage makes the image of the table: 2 GiB with 50,000 files in 2,000 directories, one directory of 50,000
// entries, three files of 256 MiB, and one in 13,000 extents.
func makeImage(path, dir string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(2<<30), f.Close()); err != nil {
		return err
	}
	if err := process.Run("mkfs.ext4", "-q", "-F", path); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := process.Run("mount", "-o", "loop", path, dir); err != nil {
		return err
	}
	return errors.Join(fill(dir), process.Run("umount", dir))
}

func fill(dir string) error {
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for d := range 2000 {
		sub := filepath.Join(dir, "tree", fmt.Sprint(d/50), fmt.Sprint(d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		for i := range 25 {
			n := d*25 + i
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("file", i)), noise[n%1000:][:200+n*397%6000],
				0o644); err != nil {
				return err
			}
		}
	}
	for _, sub := range []string{"wide", "big"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for i := range 50000 {
		if err := os.WriteFile(filepath.Join(dir, "wide", fmt.Sprintf("entry%06d", i)), nil, 0o644); err != nil {
			return err
		}
	}
	return fillBig(filepath.Join(dir, "big"), noise)
}

func fillBig(dir string, noise []byte) error {
	for i := range 3 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		for range 256 {
			if _, err := f.Write(noise); err != nil {
				return err
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(dir, "fragmented"))
	if err != nil {
		return err
	}
	for i := range int64(13000) {
		if _, err := f.WriteAt(noise[:4096], i*8192); err != nil {
			return err
		}
	}
	return f.Close()
}

// withXattr is a copy of the image in which one file has an extended attribute, so that no front can know that there
// are none.
func (b *bench) withXattr() (string, error) {
	path := b.dir + "-xattr-image"
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := process.Run("cp", "--sparse=always", b.image, path); err != nil {
		return "", err
	}
	if err := process.Run("mount", "-o", "loop", path, b.dir); err != nil {
		return "", err
	}
	return path, errors.Join(process.Run("setfattr", "-n", "user.note", "-v", "one",
		filepath.Join(b.dir, "wide", "entry000007")), process.Run("umount", b.dir))
}
