//go:build testhooks

package apps

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/oracle"
)

// kills runs the application so often, and ends the daemon at some moment. It returns what was lost.
func (c *cell) kills(t *testing.T, rounds int) (lost []error) {
	t.Helper()
	for range rounds {
		c.fresh(t)
		dir := t.TempDir()
		pid := c.mount(t, c.image, c.store, dir, c.env...)
		var once sync.Once
		kill := func() { once.Do(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) }
		at, delay := c.rng.IntN(c.app.count), time.Duration(c.rng.IntN(20))*time.Millisecond
		due := 0
		err := c.drive(dir, func(a ack) {
			if due = a.transaction; due == at {
				time.AfterFunc(delay, kill)
			}
		})
		kill()
		oracle.MustRun(t, program(t), "umount", "--lazy", dir)
		if due < at {
			t.Fatalf("the driver ended before it was killed: %v", err)
		}
		if err := c.judge(t, c.image, c.store, due); err != nil {
			lost = append(lost, fmt.Errorf("%s, %s, daemon killed %v after transaction %d, %d acknowledged: %w", c.app.name,
				c.mode.name, delay, at, due, err))
		}
	}
	return lost
}
