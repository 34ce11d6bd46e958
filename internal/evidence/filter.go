package evidence

import (
	"slices"
	"time"
)

// Filter lets records through. Fields that are zero let all through.
type Filter struct {
	Events       []string // of these kinds; of operations, of these names, too
	Since, Until time.Time
	Block        *uint64
	Inode        uint32 // of an operation
	Path         string // of an operation, or below it
}

// Wants reports whether the filter lets a record through.
func (f *Filter) Wants(r *Record) bool {
	switch {
	case len(f.Events) > 0 && !slices.Contains(f.Events, r.Event) &&
		(r.Operation == nil || !slices.Contains(f.Events, r.Operation.Name)):
	case !f.Since.IsZero() && r.Time.Before(f.Since):
	case !f.Until.IsZero() && r.Time.After(f.Until):
	case f.Block != nil && (r.Block == nil || *r.Block != *f.Block):
	case f.Inode != 0 && (r.Operation == nil || r.Inode != f.Inode && r.Made != f.Inode && r.To != f.Inode):
	case f.Path != "" && (r.Operation == nil || !Below(r.Path, f.Path) && !Below(r.ToPath, f.Path)):
	default:
		return true
	}
	return false
}
