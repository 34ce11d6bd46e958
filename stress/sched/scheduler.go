//go:build testhooks

package sched

import (
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/varvefs/varve/internal/yield"
)

// Scheduler decides who goes on.
type Scheduler struct {
	rng   *rand.Rand
	mu    sync.Mutex
	queue []*parked // guarded by mu
	trace []byte    // the points that were passed, in order
	steps int
}

// parked is a goroutine at a yield point.
type parked struct {
	point string
	seen  bool
	until int // held back to this step
	leave chan struct{}
}

// New makes a scheduler. The same seed makes the same choices.
func New(seed uint64) *Scheduler { return &Scheduler{rng: rand.New(rand.NewPCG(seed, 77))} }

// At parks the calling goroutine until it is chosen.
func (s *Scheduler) At(point string) {
	p := &parked{point: point, leave: make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	<-p.leave
}

// Run schedules the actors, and all goroutines that they start, until all have returned. It is called in a bubble of
// synctest.
func (s *Scheduler) Run(actors ...func()) {
	yield.Set(s.At)
	defer yield.Set(nil)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // goroutines that wake at once park in one order
	var mu sync.Mutex
	left := len(actors)
	for _, do := range actors {
		go func() {
			yield.At("begin")
			do()
			mu.Lock()
			left--
			mu.Unlock()
		}()
	}
	for {
		synctest.Wait()
		mu.Lock()
		done := left == 0
		mu.Unlock()
		if done {
			break
		}
		if s.timePasses() || !s.step() {
			time.Sleep(time.Millisecond)
		}
	}
	yield.Set(nil)
	for s.step() { // background work ends as it likes
		synctest.Wait()
	}
}

// timePasses lets timers fire although a goroutine is parked, now and then.
func (s *Scheduler) timePasses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(25) == 0
}

// step lets one goroutine go on, and reports false where none is parked.
func (s *Scheduler) step() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return false
	}
	s.steps++
	slices.SortStableFunc(s.queue, func(a, b *parked) int { return strings.Compare(a.point, b.point) })
	var free []int
	for i, p := range s.queue {
		if !p.seen && s.rng.IntN(10) == 0 {
			p.until = s.steps + s.rng.IntN(150)
		}
		p.seen = true
		if p.until <= s.steps {
			free = append(free, i)
		}
	}
	i := s.rng.IntN(len(s.queue))
	if len(free) > 0 {
		i = free[s.rng.IntN(len(free))]
	}
	p := s.queue[i]
	s.queue = slices.Delete(s.queue, i, i+1)
	s.trace = append(append(s.trace, p.point...), '\n')
	close(p.leave)
	return true
}

// Hash is of the points that were passed, in order: equal for equal runs.
func (s *Scheduler) Hash() uint64 {
	h := fnv.New64a()
	_, _ = h.Write(s.trace)
	return h.Sum64()
}

// Steps is how many choices were made.
func (s *Scheduler) Steps() int { return s.steps }
