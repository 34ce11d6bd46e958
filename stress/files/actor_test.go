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

	journalled bool // file data is: overwritten contents change with their commit, and not before
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
		switch k := a.rng.IntN(16); {
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
		case k >= 10:
			err = a.rarer(k, step, name, node)
		default:
			to := fmt.Sprint("r", a.rng.IntN(2))
			if _, there := a.opened[to]; there {
				continue
			}
			err = a.op(func(t tree) error {
				_, err := a.w.Rename(someone, a.dir, name, a.dir, to, 0)
				a.opened[to] = node
				delete(a.opened, name)
				t.drop(name, to)
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
		t.drop(name, "")
		_, err := a.w.Unlink(someone, a.dir, name)
		return err
	})
	if err == nil {
		err = a.w.Evict(node)
	}
	return err
}

// rarer does what programs use less: ranges of whole blocks, attributes that actors share, files without a name.
func (a *actor) rarer(k, step int, name string, node ext4.Node) error {
	const bs = 1024
	at := uint64(a.rng.IntN(len(a.states[len(a.states)-1][name])/bs+1)) * bs
	switch k {
	case 10, 11:
		return a.op(func(t tree) error {
			p := []byte(t[name])
			end := min(int(at)+2*bs, len(p)) // what lies behind the end reads as nothing anyway
			clear(p[min(int(at), end):end])
			t[name] = string(p)
			if k == 10 || !a.journalled { // a range of zeros keeps its blocks: the next append overwrites them in place (W6)
				return a.w.Punch(someone, node, at, 2*bs)
			}
			return a.w.ZeroRange(someone, node, at, 2*bs, true)
		})
	case 12:
		return a.op(func(tree) error { return a.w.Allocate(someone, node, at, 6*bs, true) })
	case 13, 14:
		value := strings.Repeat("s", 300*(1+a.rng.IntN(2)))
		return a.op(func(t tree) error {
			t[name+attribute] = value
			return a.w.SetXattr(someone, node, attribute[1:], []byte(value), 0, false)
		})
	}
	return a.tmpfile(step)
}

// attribute is the attribute that actors set: it is in a tree behind its file's name.
const attribute = "\x00user.shared"

// tmpfile makes a file without a name, writes to it, and gives it one.
func (a *actor) tmpfile(step int) error {
	name := fmt.Sprint("t", step)
	n, err := a.w.Tmpfile(someone, a.dir, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	if err != nil {
		return err
	}
	data := strings.Repeat(fmt.Sprintf("tmp%d.%d ", a.number, step), 1+a.rng.IntN(400))
	if _, err := a.w.Write(someone, ext4.NodeOf(&n), 0, []byte(data), false); err != nil {
		return err
	}
	return a.op(func(t tree) error {
		t[name] = data
		_, err := a.w.Link(someone, ext4.NodeOf(&n), a.dir, name)
		return err
	})
}

// drop forgets a name and what belongs to it, or moves them to another name.
func (t tree) drop(name, to string) {
	for _, suffix := range []string{"", attribute} {
		if v, ok := t[name+suffix]; ok && to != "" {
			t[to+suffix] = v
		}
		delete(t, name+suffix)
	}
}
