package ext4_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
)

// otherVerdicts are the images of the corpus on which varve's verdict is not e2fsck's (docs/fsck.md says the same).
var otherVerdicts = map[string]string{
	"f_bad_encryption":         "varve does not check encryption contexts",
	"f_short_encrypted_dirent": "varve does not check encrypted names for their least length",
	"f_badbblocks":             "varve takes the list of bad blocks as it is",
	"f_bad_gdt_csum":           "e2fsck -fn drops the checksums' word, and checks the group",
	"f_first_meta_bg_too_big":  "e2fsck -fn corrects the superblock in memory and calls the rest clean",
	"f_zero_inode_size":        "e2fsck -fn corrects the superblock in memory and calls the rest clean",
	"f_ea_zero_size":           "e2fsck does not compare the length of a value with that of its inode; the kernel does",
	"f_ea_inode_no_feature":    "e2fsck turns the feature on in memory and calls the rest clean",
	"f_hurd":                   "entries without a type on an image with types: e2fsck leaves the Hurd's alone",
	"f_orphan_extents_inode": "e2fsck -fn does not finish orphans, and finds the blocks of one that is half cut " +
		"behind its end; to varve that is what an orphan is",
	"f_clear_orphan_file":     "the journal, which e2fsck -fn does not read, makes it right",
	"f_jnl_64bit":             "the journal, which e2fsck -fn does not read, makes it right",
	"j_corrupt_commit_csum":   "e2fsck -fn does not read the journal",
	"j_corrupt_descr_csum":    "e2fsck -fn does not read the journal",
	"j_corrupt_journal_block": "e2fsck -fn does not read the journal",
}

// TestCheck_Corpus compares the verdicts on the corpus with e2fsck's.
func TestCheck_Corpus(t *testing.T) {
	oracle.Need(t, "e2fsck")
	dir := os.Getenv("VARVE_CORPUS")
	if dir == "" {
		dir = "../../shared/corpus"
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.img.gz"))
	if err != nil || len(files) == 0 {
		t.Skipf("SKIP: no corpus in %s: name it with VARVE_CORPUS=DIR", dir)
	}
	agreed := 0
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".img.gz")
		path := gunzip(t, f)
		clean := clean(path)
		mine, why := verdict(t, path)
		if _, other := otherVerdicts[name]; other == (mine == clean) {
			t.Errorf("%s: e2fsck says clean: %v, varve %v (%s); expected to differ: %v", name, clean, mine, why, other)
		}
		if mine == clean {
			agreed++
		}
	}
	t.Logf("%d of %d verdicts agree", agreed, len(files))
}

func verdict(t *testing.T, path string) (clean bool, why string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fs, err := ext4.Open(f, ext4.Options{})
	if err != nil {
		return false, err.Error()
	}
	v, err := fs.Check(nil)
	switch {
	case err != nil:
		return false, err.Error()
	case !v.Clean():
		return false, v.Problems[0].Where + ": " + v.Problems[0].What
	}
	return true, ""
}
