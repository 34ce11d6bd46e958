package varve_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/varvefs/varve/"

// ours says which of our packages a package may import, and why; outside is the same for third parties.
var ours = map[string]struct {
	imports []string
	outside []string
	why     string
}{
	"internal/block": {nil, nil, "the words that all share depend on nothing"},
	"ondisk":         {nil, nil, "formats are pure: bytes and values, no input or output"},
	"ondisk/ext4": {
		[]string{"internal/block", "ondisk"}, nil,
		"formats are pure: bytes and values, no input or output",
	},
	"ondisk/jbd2": {
		[]string{"internal/block", "ondisk"}, nil,
		"formats are pure: bytes and values, no input or output",
	},
	"merge":              {nil, nil, "a proof depends on bytes and edits alone"},
	"internal/invariant": {[]string{"internal/block", "internal/mutant"}, nil, "checkers know numbers only"},
	"internal/failpoint": {nil, nil, "names for tests know nothing of what they name"},
	"internal/mutant":    {nil, nil, "switches for tests know nothing of what they switch"},
	"internal/noticed":   {nil, nil, "it runs a test again, and knows nothing of what is tested"},
	"internal/yield":     {nil, nil, "points for a scheduler know nothing of what they interrupt"},
	"wal": {
		[]string{"blockcache", "internal/block", "internal/invariant", "merge", "ondisk/jbd2"},
		[]string{"lukechampine.com/blake3"},
		"the log knows devices and byte ranges, not versions",
	},
	"mvcc": {
		[]string{"blockcache", "internal/block", "internal/invariant", "merge", "wal"},
		[]string{
			"github.com/klauspost/compress/s2", "github.com/klauspost/compress/zstd", "github.com/puzpuzpuz/xsync/v3",
		},
		"the store knows blocks, not files",
	},
	"stress": {
		[]string{"blockcache", "internal/block", "merge", "mvcc", "wal"},
		[]string{"github.com/HdrHistogram/hdrhistogram-go", "github.com/anishathalye/porcupine"},
		"it loads the engine from outside",
	},
	"stress/sched": {[]string{"blockcache"}, nil, "it schedules goroutines that yield, and knows no engine"},
	"stress/files": {
		[]string{"blockcache", "ext4", "internal/block", "internal/volume", "ondisk", "ondisk/ext4", "ondisk/jbd2"},
		[]string{"golang.org/x/sys/unix"},
		"it loads a file system from outside, and knows formats and the error families",
	},
	"stress/apps": {nil, nil, "it drives applications and the program from outside"},
	"blockcache": {
		[]string{"internal/block"},
		[]string{"github.com/diskfs/go-diskfs/partition", "golang.org/x/sys/unix"},
		"devices and the cache do not know what blocks mean",
	},
	"ext4": {
		[]string{"internal/block", "merge", "ondisk", "ondisk/ext4", "ondisk/jbd2"},
		[]string{"golang.org/x/text/cases", "golang.org/x/text/unicode/norm"},
		"the file system reads through an interface of its own, so that any storage can stand behind it",
	},
	"fuse": {
		[]string{"blockcache", "ext4", "ondisk", "ondisk/ext4"},
		[]string{"github.com/hanwen/go-fuse/v2/fuse", "golang.org/x/sys/unix"},
		"the front is thin: one call into ext4, and the bytes of the device",
	},
	"internal/volume": {
		[]string{"blockcache", "ext4", "internal/block", "mvcc", "ondisk", "ondisk/ext4", "ondisk/jbd2", "wal"},
		[]string{"lukechampine.com/blake3"},
		"here the layers are joined",
	},
	"internal/oracle":     {[]string{"ext4"}, []string{"golang.org/x/sys/unix"}, "tests only"},
	"internal/enginetest": {[]string{"blockcache", "internal/block", "mvcc", "ondisk/jbd2", "wal"}, nil, "tests only"},
	"internal/evidence":   {[]string{"mvcc"}, nil, "the ledger knows a store's events"},
	"bench/engine": {
		[]string{"blockcache", "internal/block", "merge", "mvcc", "wal"},
		[]string{
			"github.com/HdrHistogram/hdrhistogram-go", "golang.org/x/sys/unix", "gonum.org/v1/plot",
			"gonum.org/v1/plot/plotter", "gonum.org/v1/plot/plotutil", "gonum.org/v1/plot/vg", "gonum.org/v1/plot/vg/draw",
			"gonum.org/v1/plot/vg/vgsvg",
		},
		"it measures stores from outside",
	},
	"internal/importer": {
		[]string{"ext4", "internal/output", "internal/posixacl", "ondisk/ext4"},
		[]string{
			"github.com/klauspost/compress/gzip", "github.com/klauspost/compress/zstd", "golang.org/x/sys/unix",
		},
		"it copies trees into a file system, and does not know what that is on",
	},
	"internal/pack": {
		[]string{"ext4", "internal/importer", "internal/volume", "ondisk/ext4"},
		[]string{"golang.org/x/sys/unix"},
		"it drives mkfs.ext4, and an open volume by way of the importer",
	},
	"internal/posixacl": {nil, nil, "a form of text and bytes"},
	"cmd/varve": {
		[]string{
			"bench/engine", "ext4", "fuse", "internal/block", "internal/blockmap", "internal/daemon", "internal/demo",
			"internal/dump", "internal/evidence", "internal/feature", "internal/find", "internal/importer", "internal/metrics",
			"internal/output", "internal/pack", "internal/posixacl",
			"internal/survey", "internal/top", "internal/volume", "mvcc", "ondisk", "ondisk/ext4", "stress",
		},
		[]string{
			"github.com/schollz/progressbar/v3", "github.com/spf13/cobra", "github.com/spf13/cobra/doc",
			"golang.org/x/sys/unix",
		},
		"the command line is a user of the layers below",
	},
	"internal/dump": {
		[]string{"ext4", "internal/block", "internal/output", "ondisk", "ondisk/ext4", "ondisk/jbd2"}, nil,
		"it shows formats by their decoders",
	},
	"internal/feature": {
		[]string{"ext4", "ondisk", "ondisk/ext4"}, nil,
		"it asks the checks that a mount makes",
	},
	"internal/blockmap": {[]string{"internal/survey"}, nil, "it draws what was counted"},
	"internal/find": {
		[]string{"ext4", "ondisk/ext4"}, nil,
		"it asks questions about inodes, and does not walk",
	},
	"internal/survey": {
		[]string{"ext4", "ondisk", "ondisk/ext4"}, nil,
		"it counts by the readers of files",
	},
	"internal/daemon": {
		[]string{
			"ext4", "fuse", "internal/block", "internal/evidence", "internal/metrics", "internal/output",
			"internal/volume", "mvcc",
		},
		[]string{"golang.org/x/sys/unix"},
		"the process behind a mount knows an open volume and its front, not the command line",
	},
	"internal/top": {
		[]string{"ext4", "internal/daemon", "internal/output", "mvcc"},
		[]string{
			"charm.land/bubbles/v2/help", "charm.land/bubbles/v2/key", "charm.land/bubbles/v2/table",
			"charm.land/bubbletea/v2", "charm.land/lipgloss/v2",
		},
		"it asks a daemon or a run from outside, and knows their figures and a terminal",
	},
	"internal/demo": {
		[]string{"internal/daemon", "internal/volume"}, nil,
		"it runs the program, and reads by the library",
	},
	"internal/metrics": {
		[]string{"internal/output", "mvcc"},
		[]string{
			"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/promhttp",
		},
		"it knows a store's figures",
	},
	"internal/output":  {nil, nil, "the form of text and JSON does not depend on what they say"},
	"internal/program": {[]string{"internal/oracle"}, []string{"golang.org/x/sys/unix"}, "tests only"},
	"bench/fronts": {
		nil,
		[]string{"github.com/hanwen/go-fuse/v2/fs", "github.com/hanwen/go-fuse/v2/fuse"},
		"daemons to compare with have nothing of ours",
	},
	"bench/tables":  {nil, nil, "it knows data files and pages"},
	"bench/process": {nil, nil, "it knows programs by their names"},
	"bench/write": {
		[]string{"bench/fronts", "bench/process"}, nil,
		"the benchmark drives the program from outside",
	},
	"bench/mount": {
		[]string{"bench/fronts", "bench/process"}, nil,
		"the benchmark drives the program from outside",
	},
}

// hooks are empty in a normal build (-tags testhooks fills them): every package may import them.
var hooks = []string{"internal/failpoint", "internal/mutant", "internal/yield"}

// pure packages touch no input or output, clock or lock.
var pure = []string{"ondisk", "ondisk/ext4", "ondisk/jbd2", "internal/block", "merge"}

var impure = []string{"os", "net", "sync", "sync/atomic", "syscall", "io", "bufio", "context"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// TestImports_Direction keeps the layers apart (docs/design.md, "Architecture").
func TestImports_Direction(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		rule, ok := ours[name]
		if name == strings.TrimSuffix(module, "/") {
			continue // this test's own package
		}
		if !ok {
			t.Errorf("%s has no rule: add one here, with the reason, or move its code", name)
			continue
		}
		seen++
		for _, i := range p.Imports {
			switch {
			case i == "unsafe" || i == "C":
				t.Errorf("%s imports %s: no cgo and no unsafe in our packages", name, i)
			case strings.HasPrefix(i, module):
				if i := strings.TrimPrefix(i, module); !slices.Contains(rule.imports, i) && !slices.Contains(hooks, i) {
					t.Errorf("%s imports %s, which it may not: %s", name, i, rule.why)
				}
			case strings.Contains(strings.Split(i, "/")[0], "."):
				if !slices.Contains(rule.outside, i) {
					t.Errorf("%s imports %s, which is not on its list: %s", name, i, rule.why)
				}
			case slices.Contains(pure, name) && slices.Contains(impure, i):
				t.Errorf("%s imports %s: %s", name, i, rule.why)
			}
		}
	}
	if seen < len(ours)-1 {
		t.Errorf("only %d of %d packages were found", seen, len(ours))
	}
}
