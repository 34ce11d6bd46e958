package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/feature"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/survey"
)

// infoParted is the document of varve info with all its parts.
type infoParted struct {
	Readable    bool
	Writable    string
	FeatureList []feature.Feature `json:"feature_list"`
	Verdict     *verdict
	Journal     *survey.Journal
	Groups      []survey.Group `json:"block_groups"`
}

// judgeInfo compares block groups and journal with what dumpe2fs prints of them.
func judgeInfo(t *testing.T, image string, judged map[string]int) {
	out, code := answers(t, "info", "--norecovery", "--groups", "--journal", "--features", "--json", image)
	if out == "" {
		return
	}
	var doc infoParted
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if text, c := answers(t, "info", "--norecovery", "--groups", "--journal", "--features", image); c != code ||
		strings.Count(text, "Free blocks:") != len(doc.Groups) {
		t.Errorf("as text: exit code %d, as JSON: %d; %s", c, code, text)
	}
	if v := doc.Verdict; v == nil || v.ReadOnly != doc.Readable || !v.ReadOnly && len(v.Advice) == 0 {
		t.Errorf("%+v", v)
	}
	said, err := exec.Command("dumpe2fs", image).Output()
	if err != nil {
		return
	}
	if !strings.HasSuffix(t.Name(), "/f_miss_blk_bmap") { // whose bitmap is said to be block 0
		judged["group"] += judgeGroups(t, doc.Groups, string(said))
	}
	judged["journal state"] += judgeJournalState(t, doc.Journal, dumpe2fsHead(string(said)))
}

var groupPattern = regexp.MustCompile(`Group (\d+): \(Blocks (\d+(?:-\d+)?)\)([^\n]*)
(?:  [^\n]*superblock[^\n]*\n)?(?:  Group descriptor[^\n]*\n)?(?:  Reserved GDT[^\n]*\n)?  Block bitmap at (\d+)[^\n]*
  Inode bitmap at (\d+)[^\n]*
  Inode table at (\d+(?:-\d+)?)[^\n]*
  (\d+) free (?:blocks|clusters), (\d+) free inodes, (\d+) directories(?:, (\d+) unused inodes)?
(?:  Free blocks: ([^\n]*)\n)?(?:  Free inodes: ([^\n]*)\n)?`)

// judgeGroups compares groups, and returns how many it compared.
func judgeGroups(t *testing.T, groups []survey.Group, said string) int {
	said = regexp.MustCompile(`Block bitmap at (\d+)([^\n]*?), Inode bitmap`).ReplaceAllString(said,
		"Block bitmap at $1$2\n  Inode bitmap")
	all := groupPattern.FindAllStringSubmatch(said, -1)
	if n := strings.Count(said, ": (Blocks "); len(all) != n {
		t.Errorf("of %d groups %d are understood:\n%s", n, len(all), said)
	}
	head, n := dumpe2fsHead(said), 0
	for i, m := range all {
		if i >= len(groups) || groups[i].Problem != "" {
			continue
		}
		g := &groups[i]
		n++
		if a, b, _ := strings.Cut(m[6], "-"); a == b {
			m[6] = a
		}
		m[11] = strings.TrimSuffix(m[11], ", 8192") // of f_dup: behind the group's end
		if head["Cluster size"] != "" {             // dumpe2fs has the first block of each cluster
			blocks := countIn(t, head["Cluster size"]) / countIn(t, head["Block size"])
			for k := range g.FreeSpans {
				g.FreeSpans[k].Last -= (g.FreeSpans[k].Last - g.Blocks.First) % blocks
			}
		}
		want := fmt.Sprint(m[1], " ", m[2], " ", m[4], " ", m[5], " ", m[6], " ", m[8], " ", m[9], " ", m[11], " | ", m[12])
		got := fmt.Sprint(g.Group, " ", spanText(g.Blocks), " ", g.BlockBitmap, " ", g.InodeBitmap, " ",
			spanText(g.InodeTable), " ", g.FreeInodes, " ", g.Directories, " ", spansText(g.FreeSpans), " | ",
			spansText(g.InodeSpans))
		if m[12] == "" { // the bitmaps are damaged, and not shown
			got, _, _ = strings.Cut(got, " | ")
			want, _, _ = strings.Cut(want, " | ")
		}
		if got != want {
			t.Errorf("group:\n%s; dumpe2fs:\n%s", got, want)
		}
		if strings.Contains(m[3], "csum 0x") && !strings.Contains(m[3], fmt.Sprintf("csum 0x%04x", g.Checksum)) {
			t.Errorf("group %d has the checksum 0x%04x; dumpe2fs: %s", i, g.Checksum, m[3])
		}
		for _, flag := range g.Flags {
			if !strings.Contains(m[3], flag) {
				t.Errorf("group %d has the flag %s; dumpe2fs: %s", i, flag, m[3])
			}
		}
	}
	return n
}

// judgeJournalState compares the journal's state, and returns how many it compared.
func judgeJournalState(t *testing.T, j *survey.Journal, head map[string]string) int {
	if j == nil || j.Blocks == 0 || head["Journal sequence"] == "" {
		return 0
	}
	for what, both := range map[string][2]string{
		"features": {orNone(j.Features), strings.ReplaceAll(head["Journal features"], "journal_incompat_", "journal_")},
		"sequence": {fmt.Sprintf("0x%08x", j.Sequence), head["Journal sequence"]},
		"start":    {fmt.Sprint(j.Start), head["Journal start"]},
		"blocks":   {fmt.Sprint(j.Blocks), head["Total journal blocks"]},
		"fast":     {fmt.Sprint(j.FastBlocks), head["Fast commit length"]},
	} {
		if both[0] != both[1] {
			t.Errorf("journal, %s: %q; dumpe2fs: %q", what, both[0], both[1])
		}
	}
	return 1
}

// TestInfo_Features says what keeps an image from being mounted, and what to do.
func TestInfo_Features(t *testing.T) {
	oracle.Need(t, "debugfs")
	plain := smallImage(t)
	shared, unknown, squeezed := smallImage(t), smallImage(t), smallImage(t)
	debugfs(t, shared, "feature shared_blocks\n")
	debugfs(t, unknown, "feature FEATURE_I30\n")
	debugfs(t, squeezed, "feature compression\n")
	for _, c := range []struct {
		image, feature, advice string
		read, write            bool
	}{
		{plain, "extent", "", true, true},
		{shared, "shared_blocks", "unshare_blocks", true, false},
		{unknown, "FEATURE_I30", "newer kernel", false, false},
		{squeezed, "compression", "no kernel", false, false},
	} {
		var doc infoParted
		parseJSON(t, &doc, "info", "--features", "--json", c.image)
		v := doc.Verdict
		if v == nil || v.ReadOnly != c.read || v.ReadWrite != c.write || v.Overlay != c.write ||
			!strings.Contains(strings.Join(v.Advice, "\n"), c.advice) || (c.advice == "") != (len(v.Advice) == 0) {
			t.Errorf("%s: %+v", c.feature, v)
		}
		found := false
		for _, f := range doc.FeatureList {
			if f.Name == c.feature {
				found = f.Read == c.read && f.Write == c.write
			} else if !f.Read || !f.Write || f.Meaning == "" {
				t.Errorf("beside %s: %+v", c.feature, f)
			}
		}
		if text := command(t, "info", "--features", c.image).Stdout; !found || !strings.Contains(text, c.feature) {
			t.Errorf("%s: %+v\n%s", c.feature, doc.FeatureList, text)
		}
	}
}

func countIn(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	fatal(t, err)
	return n
}
