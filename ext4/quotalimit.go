package ext4

import (
	"fmt"
	"math"

	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// usageChange is a change of one entry, and the rules under which it is made: those of the kernel (fs/quota/dquot.c:
// dquot_add_space, dquot_add_inodes, dquot_decr_space, dquot_decr_inodes). It is pure, so that it can be made again on
// the newest bytes.
type usageChange struct {
	id            uint32
	space, inodes int64
	limits        bool // are enforced
	exempt        bool // by CAP_SYS_RESOURCE: nothing is refused
	promised      bool // nothing is refused for its space
	now           int64
	grace         graces
}

// run makes the change in d, or refuses it.
func (c *usageChange) run(d *disk.Dquot) error {
	v := counter{d.Inodes, d.InodeSoft, d.InodeHard, d.InodeTime}
	if !c.change(&v, c.inodes, c.grace.inodes, c.exempt) {
		return fmt.Errorf("%w: inodes", ErrQuota)
	}
	d.Inodes, d.InodeTime = v.used, v.time
	v = counter{d.Space, spaceLimit(d.SpaceSoft), spaceLimit(d.SpaceHard), d.SpaceTime}
	if !c.change(&v, c.space, c.grace.space, c.exempt || c.promised) {
		return fmt.Errorf("%w: space", ErrQuota)
	}
	d.Space, d.SpaceTime = v.used, v.time
	return nil
}

// counter is a usage with its limits, which are 0 where there are none, and the end of its grace time.
type counter struct {
	used, soft, hard uint64
	time             int64
}

// change adds to a usage, and reports whether it may.
func (c *usageChange) change(v *counter, delta int64, grace uint32, mayExceed bool) bool {
	if delta <= 0 {
		v.used -= min(v.used, uint64(-delta)) // less than was counted: e2fsck counts anew
		if delta < 0 && v.used <= v.soft {
			v.time = 0
		}
		return true
	}
	used := v.used + uint64(delta)
	if !c.limits || mutant.Off(mutant.QuotaLimits) {
		v.used = used
		return true
	}
	over := v.soft != 0 && used > v.soft
	if !mayExceed && (v.hard != 0 && used > v.hard || over && v.time != 0 && c.now >= v.time) {
		return false
	}
	if over && v.time == 0 {
		v.time = c.now + int64(grace)
	}
	v.used = used
	return true
}

// spaceLimit is a limit of space in bytes.
func spaceLimit(units uint64) uint64 {
	return min(units, math.MaxInt64/disk.QuotaUnit) * disk.QuotaUnit
}

// adds reports whether the change of an entry is an addition within bounds: no grace time begins or ends, and none of
// the entry's numbers stays at a bound.
func (c *usageChange) adds(d disk.Dquot) bool {
	return d.SpaceSoft|d.InodeSoft == 0 && d.SpaceTime|d.InodeTime == 0 &&
		int64(d.Space)+c.space >= 0 && int64(d.Inodes)+c.inodes >= int64(c.least())
}

// least is how few inodes an addition may leave. The entry of id 0 must not become zeros, which are a free one.
func (c *usageChange) least() uint64 {
	if c.id == 0 {
		return 1
	}
	return 0
}

// most bounds an addition by a hard limit.
func (c *usageChange) most(delta int64, hard uint64, mayExceed bool) uint64 {
	if delta <= 0 || hard == 0 || !c.limits || mayExceed || mutant.Off(mutant.QuotaLimits) {
		return math.MaxInt64
	}
	return hard
}
