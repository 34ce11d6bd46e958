//go:build testhooks

package files

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// tree is what one actor's directory holds: contents by name.
type tree map[string]string

// actor works in a directory of its own, beside others that share bitmaps, inode tables and the journal with it.
type actor struct {
	number int
	dir    ext4.Node
	states []tree // after each of its operations
	trace  *blockcache.Trace
	w      *volume.Writable
	rng    *rand.Rand
	opened map[string]ext4.Node
}

func (a *actor) name() string { return fmt.Sprint("actor", a.number) }

// op is one operation: noted in the trace where it begins and ends, and in the states.
func (a *actor) op(do func(tree) error) error {
	next := maps.Clone(a.states[len(a.states)-1])
	a.trace.Note(fmt.Sprintf("begin %d %d", a.number, len(a.states)))
	if err := do(next); err != nil {
		return err
	}
	a.states = append(a.states, next)
	a.trace.Note(fmt.Sprintf("end %d %d", a.number, len(a.states)-1))
	return nil
}

// act is a life of creating, appending, renaming, removing, and syncing.
func (a *actor) act() error {
	for step := range fileSteps {
		name := fmt.Sprint("f", a.rng.IntN(3))
		node, exists := a.opened[name]
		var err error
		switch k := a.rng.IntN(10); {
		case !exists:
			err = a.op(func(t tree) error {
				n, err := a.w.Create(someone, a.dir, name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
				a.opened[name], t[name] = ext4.NodeOf(&n), ""
				return err
			})
		case k < 5:
			err = a.op(func(t tree) error {
				data := strings.Repeat(fmt.Sprintf("%d.%d ", a.number, step), 1+a.rng.IntN(400))
				_, err := a.w.Write(someone, node, int64(len(t[name])), []byte(data), false)
				t[name] += data
				return err
			})
		case k < 7:
			err = a.remove(name, node)
		default:
			to := fmt.Sprint("r", a.rng.IntN(2))
			if _, there := a.opened[to]; there {
				continue
			}
			err = a.op(func(t tree) error {
				_, err := a.w.Rename(someone, a.dir, name, a.dir, to, 0)
				a.opened[to], t[to] = node, t[name]
				delete(a.opened, name)
				delete(t, name)
				return err
			})
		}
		if err == nil && a.rng.IntN(3) == 0 {
			done := len(a.states) - 1
			if err = a.w.SyncNode(context.Background(), a.dir); err == nil {
				a.trace.Note(fmt.Sprintf("sync %d %d", a.number, done))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) remove(name string, node ext4.Node) error {
	err := a.op(func(t tree) error {
		delete(a.opened, name)
		delete(t, name)
		_, err := a.w.Unlink(someone, a.dir, name)
		return err
	})
	if err == nil {
		err = a.w.Evict(node)
	}
	return err
}
