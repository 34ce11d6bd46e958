//go:build testhooks

package mutant

import (
	"os"
	"os/exec"
	"testing"
)

// TestSwitch: one promise at a time is off.
func TestSwitch(t *testing.T) {
	defer Switch(None)
	for _, c := range []struct {
		to    Promise
		w1, m string
	}{{None, "on", "on"}, {W1, "off", "on"}, {M4, "on", "off"}, {None, "on", "on"}} {
		Switch(c.to)
		state := map[bool]string{true: "off", false: "on"}
		if state[Off(W1)] != c.w1 || state[Off(M4)] != c.m {
			t.Errorf("switched %q: %s is %s, %s is %s", c.to, W1, state[Off(W1)], M4, state[Off(M4)])
		}
	}
}

// TestSwitch_Environment: a program that a test starts has the promise of its environment off.
func TestSwitch_Environment(t *testing.T) {
	if os.Getenv("VARVE_MUTANT_CHILD") != "" {
		if !Off(W1) || Off(M4) {
			os.Exit(3)
		}
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSwitch_Environment$")
	cmd.Env = append(os.Environ(), "VARVE_MUTANT_CHILD=1", "VARVE_MUTANT="+string(W1))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
