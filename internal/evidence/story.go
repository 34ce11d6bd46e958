package evidence

import (
	"slices"
	"strings"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// Party is a transaction that met another one. Fields that no record has are zero.
type Party struct {
	Tx        uint64     `json:"tx,omitempty"`
	Commit    uint64     `json:"commit,omitempty"`
	Operation *Operation `json:"operation,omitempty"`
}

// Story is one conflict: a transaction found that another one had changed a block after its snapshot.
type Story struct {
	Time   time.Time `json:"time"`
	Block  *uint64   `json:"block,omitempty"`
	What   string    `json:"what,omitempty"`
	Came   Party     `json:"came"` // the transaction that found the newer version
	Met    Party     `json:"met"`  // the one that made it
	Edits  string    `json:"edits,omitempty"`
	Ranges []Range   `json:"ranges,omitempty"`
	Fields []string  `json:"fields,omitempty"`
	Merged bool      `json:"merged"`
	Proof  string    `json:"proof,omitempty"`  // why both stand
	Reason string    `json:"reason,omitempty"` // why not
	Policy string    `json:"policy,omitempty"`
	Lost   int64     `json:"attempts_lost,omitempty"` // by the transaction until it committed
	Waited float64   `json:"waited_seconds,omitempty"`
}

// Selection chooses conflicts. Fields that are zero choose all.
type Selection struct {
	Number uint64 // of a transaction, a commit or a block
	Path   string // of an operation, or below it
	Last   int    // at most so many, the newest; 0: 20
}

// Stories tells the newest conflicts that are chosen, oldest first. It reads the records three times: for the
// conflicts, for the commits of their transactions, and for the operations that made those.
func Stories(each func(do func(Record) error) error, choose Selection) ([]Story, error) {
	t := &teller{last: choose.Last}
	if t.last <= 0 {
		t.last = 20
	}
	if choose.Path != "" {
		t.wide = 1000 // paths are known at the end only
	}
	for _, pass := range []func() func(Record){func() func(Record) { return t.conflict }, t.commits, t.operations} {
		take := pass()
		if err := each(func(r Record) error { take(r); return nil }); err != nil {
			return nil, err
		}
	}
	stories := slices.DeleteFunc(t.stories, func(s Story) bool { return !choose.wants(&s) })
	return stories[max(len(stories)-t.last, 0):], nil
}

func (c Selection) wants(s *Story) bool {
	n := c.Number
	if n != 0 && n != s.Came.Tx && n != s.Came.Commit && n != s.Met.Tx && n != s.Met.Commit &&
		(s.Block == nil || *s.Block != n) {
		return false
	}
	return c.Path == "" || s.Came.at(c.Path) || s.Met.at(c.Path)
}

// at reports whether an operation is about a path, or one below it.
func (p *Party) at(path string) bool {
	return p.Operation != nil && (Below(p.Operation.Path, path) || Below(p.Operation.ToPath, path))
}

// Below reports whether a path is another one, or below it.
func Below(path, top string) bool {
	top = "/" + strings.Trim(top, "/")
	return path == top || top == "/" && path != "" || strings.HasPrefix(path, top+"/")
}

// teller collects stories.
type teller struct {
	last, wide int
	stories    []Story
}

// keep bounds the stories to more than are asked for: those that are not chosen go at the end.
func (t *teller) keep(s Story) {
	if limit := max(50*t.last, t.wide); len(t.stories) >= 2*limit {
		t.stories = slices.Delete(t.stories, 0, len(t.stories)-limit)
	}
	t.stories = append(t.stories, s)
}

func (t *teller) conflict(r Record) {
	s := Story{Time: r.Time, Block: r.Block, What: r.What, Came: Party{Tx: r.Tx}, Met: Party{Commit: r.Seq},
		Edits: r.Edits, Ranges: r.Ranges, Fields: r.Fields, Proof: r.Proof, Reason: r.Reason, Policy: r.Policy}
	switch mvcc.EventKind(r.Event) {
	case mvcc.EventMergeApplied:
		s.Merged = true
		t.keep(s)
	case mvcc.EventConflict:
		t.keep(s)
	}
}

// index finds the stories of each transaction, and the parties of each commit.
func (t *teller) index() (came map[uint64][]*Story, parties map[uint64][]*Party) {
	came, parties = map[uint64][]*Story{}, map[uint64][]*Party{}
	for i := range t.stories {
		s := &t.stories[i]
		if s.Came.Tx != 0 {
			came[s.Came.Tx] = append(came[s.Came.Tx], s)
		}
		for _, p := range []*Party{&s.Came, &s.Met} {
			if p.Commit != 0 {
				parties[p.Commit] = append(parties[p.Commit], p)
			}
		}
	}
	return came, parties
}

// commits adds what commits say of their transactions.
func (t *teller) commits() func(Record) {
	came, parties := t.index()
	return func(r Record) {
		if mvcc.EventKind(r.Event) != mvcc.EventCommit {
			return
		}
		for _, p := range parties[r.Seq] {
			p.Tx = r.Tx
		}
		if r.Tx == 0 {
			return
		}
		for _, s := range came[r.Tx] {
			if s.Came.Commit == 0 {
				s.Came.Commit, s.Lost, s.Waited = r.Seq, r.Count, r.Wait
			}
		}
	}
}

// operations adds the operations behind the commits.
func (t *teller) operations() func(Record) {
	_, parties := t.index()
	return func(r Record) {
		if r.Operation != nil && r.Seq != 0 {
			for _, p := range parties[r.Seq] {
				p.Operation = r.Operation
			}
		}
	}
}
