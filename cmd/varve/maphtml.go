package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/varvefs/varve/internal/blockmap"
	"github.com/varvefs/varve/internal/survey"
	"github.com/varvefs/varve/internal/volume"
)

// mapImage draws all blocks of an image as a page. What cannot be read is left out of it, and the error.
func mapImage(ctx context.Context, spec volume.Spec, out string) (err error) {
	if err := spec.Spare(out); err != nil {
		return err
	}
	v, problem := openStored(spec)
	if v == nil {
		return problem
	}
	defer v.Close()
	s := v.Superblock()
	m := blockmap.New("Blocks of "+spec.Image, uint64(s.FirstDataBlock), uint64(s.Blocks), uint64(s.BlocksPerGroup),
		uint32(s.Groups()))
	errs := []error{problem}
	found := func(err error) {
		if len(errs) < maxFailures {
			errs = append(errs, err)
		}
	}
	err = survey.Groups(ctx, v.FS, func(g *survey.Group) error {
		if m.Group(g); g.Err != nil {
			found(g.Err)
		}
		return nil
	})
	if err == nil {
		err = count(ctx, v.FS, &survey.Files{Piece: m.Piece}, found)
	}
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if err = errors.Join(m.Write(w), w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	return errors.Join(errs...)
}
