package main

import (
	"container/heap"

	"github.com/varvefs/varve/internal/block"
)

// use is a block, and the place in the trace at which it is asked for again.
type use struct {
	n  block.Number
	at int
}

// farthest is a priority queue: pop returns the block whose next use is farthest in the future.
type farthest struct{ uses []use }

func (f *farthest) push(u use) { heap.Push(f, u) }
func (f *farthest) pop() use   { return heap.Pop(f).(use) }

// The methods of heap.Interface.
func (f *farthest) Len() int           { return len(f.uses) }
func (f *farthest) Less(i, j int) bool { return f.uses[i].at > f.uses[j].at }
func (f *farthest) Swap(i, j int)      { f.uses[i], f.uses[j] = f.uses[j], f.uses[i] }
func (f *farthest) Push(x any)         { f.uses = append(f.uses, x.(use)) }
func (f *farthest) Pop() any {
	u := f.uses[len(f.uses)-1]
	f.uses = f.uses[:len(f.uses)-1]
	return u
}
