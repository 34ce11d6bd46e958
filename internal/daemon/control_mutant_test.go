//go:build testhooks

package daemon

import (
	"path/filepath"
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// TestControl_Mutants: without the check of the folder, or of the one who answers, TestControl_Forged finds forged
// answers.
func TestControl_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for promise, f := range map[mutant.Promise]int{mutant.PrivateDir: 2, mutant.ControlPeer: 3} {
		mutant.Switch(mutant.None)
		dir := filepath.Join(openTemp(t), "varve-0")
		forgeries[f].prepare(t, dir, filepath.Join(dir, controlName(noDevice)))
		if _, err := ask(noDevice, 0); err == nil {
			t.Errorf("%s: %s is believed", promise, forgeries[f].name)
		}
		mutant.Switch(promise)
		_, err := ask(noDevice, 0)
		if promise == mutant.PrivateDir { // the other check stands yet
			d, e := openPrivate(dir, 0)
			if e == nil {
				d.Close()
			}
			err = e
		}
		if err != nil {
			t.Errorf("%s is switched off, and the test does not notice: %v", promise, err)
		}
	}
}
