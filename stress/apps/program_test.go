//go:build testhooks

package apps

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

// program builds varve with the test hooks, once.
var build struct {
	once sync.Once
	dir  string
	err  error
}

func program(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "varve-apps-"); build.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-tags", "testhooks", "-o", build.dir+"/varve",
			"../../cmd/varve").CombinedOutput()
		if err != nil {
			build.err = errors.New(string(out))
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.dir + "/varve"
}

func run(m *testing.M) int {
	code := m.Run()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
	return code
}

// number is that of an environment variable, or the default.
func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}
