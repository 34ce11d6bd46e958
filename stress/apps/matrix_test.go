//go:build testhooks

package apps

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/oracle"
)

// TestApps cuts the power below each application in each mode, and kills the daemon: VARVE_APPS_CUTS and
// VARVE_APPS_KILLS times a cell. Both are set in the long run, which has PostgreSQL, too.
func TestApps(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	cuts, kills := number("VARVE_APPS_CUTS", 1), number("VARVE_APPS_KILLS", 0)
	long := os.Getenv("VARVE_APPS_CUTS") != ""
	seed := uint64(number("VARVE_SEED", int(time.Now().UnixNano())))
	t.Logf("repeat with: VARVE_SEED=%d VARVE_APPS_CUTS=%d VARVE_APPS_KILLS=%d "+
		"go test -tags testhooks -v -run %s ./stress/apps", seed, cuts, kills, t.Name())
	for i, a := range apps {
		if a.long && !long {
			continue
		}
		oracle.Need(t, a.needs...)
		for j, m := range modes {
			if !long && i%len(modes) != j { // each application once, each mode at least once
				continue
			}
			t.Run(a.name+"/"+m.name, func(t *testing.T) {
				c := newCell(t, a, m, seed+uint64(i*len(modes)+j))
				lost, dead := c.powerCuts(t, cuts), c.kills(t, kills)
				fmt.Printf("| %s | %s | %d | %d | %d | %d |\n", a.name, m.name, cuts, len(lost), kills, len(dead))
				if err := errors.Join(append(lost, dead...)...); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestApps_Mutants: a daemon that says "durable" too early is noticed, by power cuts and by kills.
func TestApps_Mutants(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	c := newCell(t, apps[0], modes[0], 1)
	c.env = []string{"VARVE_MUTANT=" + string(mutant.W1)}
	if lost := c.powerCuts(t, 4); len(lost) == 0 {
		t.Error("no power cut has lost anything")
	}
	if lost := c.kills(t, 2); len(lost) == 0 {
		t.Error("no kill has lost anything")
	}
}
