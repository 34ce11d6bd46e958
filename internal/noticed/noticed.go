// Package noticed shows that a test fails when a promise is switched off.
package noticed

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// By runs a test of the calling test's package again, in a program of its own where a promise is switched off, and
// requires that it fails. It needs a build with -tags testhooks.
func By(t *testing.T, off mutant.Promise, test string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "-test.run", "^"+test+"$", "-test.count=1", "-test.timeout=5m")
	c.Env = append(os.Environ(), "VARVE_MUTANT="+string(off))
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--- FAIL: "+test) {
		t.Errorf("with %s switched off, %s does not fail: %v\n%s", off, test, err, out)
	}
}
