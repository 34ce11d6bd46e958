package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// memStore is the storage in memory (docs/design.md): versions of blocks above the bytes of an image. A
// commit runs its edits again on the newest bytes by package merge, and conflicts where an edit or a range
// that it depends on does not stand; Sync seals what has changed and writes it home.
//
// It also checks what a store may expect of the file system: a freed block of metadata is written again only
// when its freeing is durable (W4).
type memStore struct {
	image *memImage
	size  block.Size
	seal  func(Epoch) error

	mu      sync.Mutex // guards the rest, and is not held while a transaction's function runs
	seq     block.Seq  // of the last commit
	durable block.Seq
	chains  map[block.Number][]memVersion // the first is what was at home before
	changed map[block.Number]memTag       // by the open epoch
	freed   map[block.Number]block.Seq    // metadata that was freed, by when
	live    []*memTx                      // snapshots
	failed  error
	broken  error  // a rule of the store that the file system did not keep
	between func() // runs once, between the next transaction's function and its commit
	syncs   int
	bad     map[block.Number]bool // cannot be read at home
}

type memVersion struct {
	seq  block.Seq
	data []byte
}

type memTag struct {
	kind  uint8
	owner uint64
}

// memImage is the bytes at home.
type memImage struct {
	mu sync.RWMutex // guards p
	p  []byte
}

func (m *memImage) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off >= int64(len(m.p)) {
		return 0, io.EOF
	}
	n := copy(p, m.p[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memImage) write(p []byte, off int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.p[off:], p)
}

func newMemStore(image []byte, size block.Size) *memStore {
	return &memStore{image: &memImage{p: image}, size: size, chains: map[block.Number][]memVersion{},
		changed: map[block.Number]memTag{}, freed: map[block.Number]block.Seq{}}
}

var errMedium = errors.New("the medium has an error here")

// home reads a block from the image.
func (s *memStore) home(n block.Number) ([]byte, error) {
	if s.bad[n] {
		return nil, fmt.Errorf("%v: %w", n, errMedium)
	}
	p := make([]byte, s.size)
	if _, err := s.image.ReadAt(p, s.size.Offset(n)); err != nil {
		return nil, readError(n, err)
	}
	return p, nil
}

// at is a block as of a commit. The caller holds mu.
func (s *memStore) at(n block.Number, seq block.Seq) ([]byte, error) {
	for _, v := range slices.Backward(s.chains[n]) {
		if v.seq <= seq {
			return v.data, nil
		}
	}
	return s.home(n)
}

func (s *memStore) begin(name string) *memTx {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &memTx{s: s, name: name, snap: s.seq, touched: map[block.Number]*memTouched{}}
	s.live = append(s.live, tx)
	return tx
}

func (s *memStore) end(tx *memTx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = slices.DeleteFunc(s.live, func(other *memTx) bool { return other == tx })
}

// View follows Store.
func (s *memStore) View(_ context.Context, name string, fn func(Tx) error) error {
	tx := s.begin(name)
	defer s.end(tx)
	return fn(tx)
}

var errConflict = errors.New("another transaction came first")

// Update follows Store.
func (s *memStore) Update(ctx context.Context, fn func(Tx) error) (out Outcome, err error) {
	for range 1000 {
		if err := errors.Join(s.Err(), ctx.Err()); err != nil {
			return out, err
		}
		err = s.try(fn, &out)
		if !errors.Is(err, errConflict) {
			return out, err
		}
		out.Aborts++
	}
	return out, err
}

func (s *memStore) try(fn func(Tx) error, out *Outcome) error {
	tx := s.begin("")
	defer s.end(tx)
	if err := fn(tx); err != nil {
		return err
	}
	s.mu.Lock()
	between := s.between
	s.between = nil
	s.mu.Unlock()
	if between != nil {
		between()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return tx.commit(out)
}

// Reusable follows Store.
func (s *memStore) Reusable(seq block.Seq) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return seq <= s.durable && !slices.ContainsFunc(s.live, func(tx *memTx) bool { return tx.snap < seq })
}

// Oldest follows Store.
func (s *memStore) Oldest() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tx := range s.live {
		if tx.name != "" {
			return tx.name, true
		}
	}
	return "", false
}

// Err follows Store.
func (s *memStore) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Fail follows Store.
func (s *memStore) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// Sync follows Store: it seals the open epoch and writes it home.
func (s *memStore) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.syncs++
	if s.durable == s.seq {
		return nil
	}
	e := &memEpoch{s, map[block.Number][]byte{}}
	for n := range s.changed {
		if _, ok := s.freed[n]; ok {
			delete(s.changed, n)
		} else if _, err := e.Image(n); err != nil {
			return err
		}
	}
	if err := s.seal(e); err != nil {
		return err
	}
	for n, p := range e.images {
		s.image.write(p, s.size.Offset(n))
	}
	s.durable = s.seq
	clear(s.changed)
	clear(s.freed)
	if len(s.live) == 0 {
		clear(s.chains)
	}
	return nil
}

// memEpoch follows Epoch. The store is locked while it is sealed.
type memEpoch struct {
	s      *memStore
	images map[block.Number][]byte
}

func (e *memEpoch) Blocks(do func(n block.Number, kind uint8, owner uint64)) {
	numbers := make([]block.Number, 0, len(e.s.changed))
	for n := range e.s.changed {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		do(n, e.s.changed[n].kind, e.s.changed[n].owner)
	}
}

func (e *memEpoch) Image(n block.Number) ([]byte, error) {
	if p, ok := e.images[n]; ok {
		return p, nil
	}
	p, err := e.s.at(n, e.s.seq)
	if err == nil {
		e.images[n] = slices.Clone(p)
	}
	return e.images[n], err
}

func (e *memEpoch) Last() block.Seq { return e.s.seq }

// Late follows Epoch: an epoch of this store is home at once.
func (e *memEpoch) Late(block.Number) {}

// memTx follows Tx.
type memTx struct {
	s    *memStore
	name string // of a snapshot; empty for a transaction
	snap block.Seq

	order     []block.Number // of touched
	touched   map[block.Number]*memTouched
	homes     []memHome
	freed     []block.Number
	sequenced []func(block.Seq)
}

// memTouched is a block that a transaction edits or depends on.
type memTouched struct {
	base, view []byte
	edits      []merge.Edit
	depends    []merge.Range
	tag        memTag
}

type memHome struct {
	at   int64
	data []byte
}

func (tx *memTx) touch(n block.Number) (*memTouched, error) {
	if t := tx.touched[n]; t != nil {
		return t, nil
	}
	tx.s.mu.Lock()
	defer tx.s.mu.Unlock()
	p, err := tx.s.at(n, tx.snap)
	if err != nil {
		return nil, err
	}
	t := &memTouched{base: p, view: p}
	tx.touched[n] = t
	tx.order = append(tx.order, n)
	return t, nil
}

func (tx *memTx) ReadBlock(n block.Number) ([]byte, error) {
	if t := tx.touched[n]; t != nil {
		return t.view, nil
	}
	tx.s.mu.Lock()
	defer tx.s.mu.Unlock()
	return tx.s.at(n, tx.snap)
}

func (tx *memTx) Versioned(n block.Number) bool {
	if t := tx.touched[n]; t != nil && len(t.edits) > 0 {
		return true
	}
	tx.s.mu.Lock()
	defer tx.s.mu.Unlock()
	return len(tx.s.chains[n]) > 0
}

func (tx *memTx) Edit(n block.Number, e merge.Edit) error {
	t, err := tx.touch(n)
	if err != nil {
		return err
	}
	view := slices.Clone(t.view)
	if _, err := merge.Apply(view, &e); err != nil {
		return fmt.Errorf("%s in %v: %w", e.Kind(), n, err)
	}
	t.view, t.edits = view, append(t.edits, e)
	return nil
}

func (tx *memTx) Depend(n block.Number, r merge.Range) error {
	t, err := tx.touch(n)
	if err == nil && int64(r.End()) > int64(len(t.base)) {
		err = merge.ErrOutside
	}
	if err == nil {
		t.depends = append(t.depends, r)
	}
	return err
}

func (tx *memTx) WriteHome(n block.Number, off uint32, data []byte, _ bool) error {
	at := tx.s.size.Offset(n) + int64(off)
	if at+int64(len(data)) > int64(len(tx.s.image.p)) {
		return fmt.Errorf("%d bytes for %v: %w", len(data), n, merge.ErrOutside)
	}
	tx.homes = append(tx.homes, memHome{at, data})
	return nil
}

func (tx *memTx) Free(n block.Number)          { tx.freed = append(tx.freed, n) }
func (tx *memTx) Group(uint64)                 {}
func (tx *memTx) Sequenced(do func(block.Seq)) { tx.sequenced = append(tx.sequenced, do) }

func (tx *memTx) Tag(n block.Number, kind uint8, owner uint64) error {
	t, err := tx.touch(n)
	if err == nil {
		t.tag = memTag{kind, owner}
	}
	return err
}

// commit makes the transaction's changes the newest, or returns errConflict. The caller holds the store's mu.
func (tx *memTx) commit(out *Outcome) error {
	s := tx.s
	results := map[block.Number][]byte{}
	for _, n := range tx.order {
		t := tx.touched[n]
		newest, err := s.at(n, s.seq)
		if err != nil {
			return err
		}
		for _, r := range t.depends {
			if !merge.Unchanged(t.base, newest, r) {
				return fmt.Errorf("%w: in %v", errConflict, n)
			}
		}
		if len(t.edits) == 0 {
			continue
		}
		p := make([]byte, len(newest))
		if err := merge.Resolve(p, t.base, newest, t.edits, new(merge.Result)); err != nil {
			return fmt.Errorf("%w: in %v: %w", errConflict, n, err)
		}
		out.Merged = out.Merged || !slices.Equal(t.base, newest)
		results[n] = p
	}
	if len(results)+len(tx.homes)+len(tx.sequenced) == 0 {
		return nil
	}
	s.seq++
	out.Seq = s.seq
	for _, do := range tx.sequenced {
		do(s.seq)
	}
	for n, p := range results {
		tx.reuse(n)
		if len(s.chains[n]) == 0 {
			before, err := s.home(n)
			if err != nil {
				return err
			}
			s.chains[n] = []memVersion{{0, before}}
		}
		s.chains[n] = append(s.chains[n], memVersion{s.seq, p})
		s.changed[n] = tx.touched[n].tag
	}
	for _, h := range tx.homes {
		first := block.Number(h.at / int64(s.size))
		for n := first; s.size.Offset(n) < h.at+int64(len(h.data)); n++ {
			tx.reuse(n)
			delete(s.chains, n)
		}
		s.image.write(h.data, h.at)
	}
	for _, n := range tx.freed {
		s.freed[n] = s.seq
	}
	return nil
}

// reuse notes the use of a block whose freeing is not durable (W4).
func (tx *memTx) reuse(n block.Number) {
	if seq, ok := tx.s.freed[n]; ok && tx.s.broken == nil {
		tx.s.broken = fmt.Errorf("%v is written again: commit %d freed it, and %d are durable", n, seq, tx.s.durable)
	}
}
