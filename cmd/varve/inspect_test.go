package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// judgeInspect compares what varve inspect counts with dumpe2fs, and with the map that is drawn.
func judgeInspect(t *testing.T, image string, judged map[string]int) {
	out, code := answers(t, "inspect", "--json", image)
	if text, c := answers(t, "inspect", image); c != code {
		t.Errorf("exit code %d as text, %d as JSON: %s", c, code, text)
	}
	drawn := filepath.Join(t.TempDir(), "map.html")
	_, mapped := answers(t, "map", "--html", drawn, image)
	if _, err := os.Stat(drawn); (err == nil) != (out != "") {
		t.Errorf("inspect prints %d bytes, map's exit code is %d: %v", len(out), mapped, err)
	}
	if out == "" {
		return
	}
	var p page
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if (len(p.Damage) > 0) != (code != exitOK) {
		t.Errorf("exit code %d with damage %q", code, p.Damage)
	}
	name := filepath.Base(t.Name())
	if p.Info.NeedsRecovery || code != exitOK || name == "f_miss_blk_bmap" || name == "f_overfsblks" {
		return // of the last two the tables overlap, which only a check of all blocks finds
	}
	judged["page"]++
	judgeFree(t, image, &p)
	if html, err := os.ReadFile(drawn); err == nil && mapped == exitOK {
		judgeMap(t, string(html), &p)
	}
}

// judgeFree compares free space and inodes with the bitmaps that dumpe2fs prints.
func judgeFree(t *testing.T, image string, p *page) {
	said, err := exec.Command("dumpe2fs", image).Output()
	if err != nil || strings.Contains(string(said), "Cluster size") {
		return
	}
	total, spans := uint64(0), regexp.MustCompile(`(?m)^  Free blocks: (.*)$`).FindAllStringSubmatch(string(said), -1)
	for _, m := range spans {
		for span := range strings.SplitSeq(m[1], ", ") {
			a, b, more := strings.Cut(span, "-")
			if a == "" {
				continue
			}
			if !more {
				b = a
			}
			total += min(countIn(t, b), p.Info.Blocks-1) - min(countIn(t, a), p.Info.Blocks) + 1
		}
	}
	if len(spans) > 0 && p.FreeSpace.Blocks != total {
		t.Errorf("%d free blocks in %d pieces; dumpe2fs: %d", p.FreeSpace.Blocks, p.FreeSpace.Spans, total)
	}
}

// judgeMap compares the sums in a map's legend.
func judgeMap(t *testing.T, html string, p *page) {
	sums := map[string]uint64{}
	for _, m := range regexp.MustCompile(`(free|data|metadata|fragments begin here): (\d+)`).FindAllStringSubmatch(html,
		-1) {
		sums[m[1]], _ = strconv.ParseUint(m[2], 10, 64)
	}
	first := uint64(0)
	if p.Info.BlockSize == 1024 && p.Info.ClusterSize == 1024 {
		first = 1
	}
	if all := sums["free"] + sums["data"] + sums["metadata"]; sums["free"] != p.FreeSpace.Blocks ||
		all != p.Info.Blocks-first {
		t.Errorf("%v, with %d free of %d blocks", sums, p.FreeSpace.Blocks, p.Info.Blocks)
	}
	if extents := p.Contents.Extents; sums["fragments begin here"] > extents {
		t.Errorf("%d fragments of %d pieces", sums["fragments begin here"], extents)
	}
	if strings.Contains(html, "http") || strings.Contains(html, "<script") || strings.Count(html, "<rect") < 5 {
		t.Errorf("the page is not whole, or needs others: %s", html)
	}
}

// TestInspect_Contents counts a known tree, and finds the extents that filefrag-like debugfs output has.
func TestInspect_Contents(t *testing.T) {
	oracle.Need(t, "debugfs")
	image := smallImage(t, "-b", "1024")
	var p page
	parseJSON(t, &p, "inspect", "--json", image)
	c := p.Contents
	if c.Files != 3 || c.Directories != 4 || c.Symlinks != 1 || c.Names != 8 || c.Bytes != 13+6+5 || c.Extents != 3 ||
		c.Fragmented != 0 || len(c.Largest) != 3 || c.Largest[0].Path != "/hello" || len(c.PerFile) != 1 ||
		c.PerFile[0].Count != 3 {
		t.Errorf("%+v", c)
	}
	var sizes uint64
	for _, b := range c.Sizes {
		sizes += b.Count
		if b.Sum > b.Count*b.UpTo {
			t.Errorf("%+v", b)
		}
	}
	if sizes != 3 {
		t.Errorf("%+v", c.Sizes)
	}
	checkCommands(t, []commandCase{
		{[]string{"inspect", image}, exitOK, "no damage was found", ""},
		{[]string{"map", image}, exitUsage, "", "--html"},
		{[]string{"map", "--html", "x", image, "/hello"}, exitUsage, "", "whole image"},
		{[]string{"map", "--html", image, image}, exitSystem, "", "write to another file"},
	})
	inode, _ := dumpOf(t, "inode", image, "/dir/inner")
	at := int(*inode.Records[0].Block)*1024 + inode.Records[0].Offset
	bad := corrupt(t, image, func(p []byte) { p[at+4] ^= 1 })
	if r := command(t, "inspect", bad); r.Code != exitDamaged || !strings.Contains(r.Stdout, "/dir/inner: ") {
		t.Errorf("%+v", r)
	}
}
