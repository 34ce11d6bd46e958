package mvcc

import "github.com/varvefs/varve/internal/block"

// Check verifies the store's own structures: chains in order, history that can be read, counters that agree. It is for
// tests, and for a store that may be damaged; commits wait for it block by block.
func (s *Store) Check() error {
	s.Collect()
	var err error
	s.chains.index.Range(func(n block.Number, c *chain) bool {
		err = s.chains.check(n, c)
		return err == nil
	})
	return err
}
