package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// usageCases are options that varve du and du(1) both take.
var usageCases = [][]string{{}, {"-a"}, {"-s"}, {"-h"}, {"-a", "-h"}, {"-d", "1"}, {"-a", "-d", "1"},
	{"--apparent-size"}, {"-a", "--apparent-size"},
	{"-h", "-s", "--apparent-size"}, {"--inodes"}, {"--inodes", "-s", "-h"}}

// usageAll asks varve, and returns the answers that are whole, by the place in usageCases.
func usageAll(t *testing.T, image string) map[int]string {
	t.Helper()
	out := map[int]string{}
	for i, args := range usageCases {
		if i%3 != 0 && !strings.HasSuffix(t.Name(), filledName) {
			continue // a few of them for each of many images
		}
		if text, code := answers(t, append([]string{"du", image, "/"}, args...)...); code == exitOK {
			out[i] = text
		}
	}
	return out
}

// judgeUsage compares sums with du(1) on the mount of an image. Which of the names of a file it counts for depends on
// the order of names, so lines of single files with several names may differ.
func judgeUsage(t *testing.T, before map[int]string, dir string) (compared int) {
	t.Helper()
	for i, args := range usageCases {
		got, ok := before[i]
		if !ok {
			continue
		}
		out, err := exec.Command("du", append(slices.Clone(args), dir)...).Output()
		if err != nil {
			continue
		}
		text := strings.ReplaceAll(string(out), "\t"+dir+"\n", "\t/\n")
		want := usageLines(strings.ReplaceAll(text, "\t"+dir, "\t"))
		has := usageLines(got)
		if compared++; !slices.Equal(has, want) {
			t.Errorf("du %v:\n%q; du(1):\n%q", args, has, want)
		}
	}
	return compared
}

// usageLines are lines in the order of their paths, without those of names that are printed in different ways, and of
// the many names of one file.
func usageLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "/names/") && !strings.Contains(line, "linked") && !strings.Contains(line, "/links") &&
			!strings.Contains(line, "umlauts") && strings.Contains(line, "\t/") {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// TestDu_Usage: what does not go together, one file, and JSON.
func TestDu_Usage(t *testing.T) {
	image := smallImage(t, "-b", "1024")
	checkCommands(t, []commandCase{
		{[]string{"du", image, "-s", "-a"}, exitUsage, "", "--summarize"},
		{[]string{"du", image, "-s", "-d", "2"}, exitUsage, "", "--summarize"},
		{[]string{"du", image, "-d", "-2"}, exitUsage, "", "not negative"},
		{[]string{"du", image, "/none"}, exitNotFound, "", "/none"},
		{[]string{"du", image, "/hello"}, exitOK, "1\t/hello\n", ""},
		{[]string{"du", "--help"}, exitOK, "as 1.5K", ""},
	})
	var doc struct {
		Usage []total
	}
	parseJSON(t, &doc, "du", "--json", "-s", "--apparent-size", image, "/dir")
	if len(doc.Usage) != 1 || doc.Usage[0] != (total{"/dir", 2*1024 + 6 + 5, 4}) {
		t.Errorf("%+v", doc)
	}
}

// TestHumanSize rounds up, as du -h does.
func TestHumanSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 1023: "1023", 1024: "1.0K", 1025: "1.1K", 10140: "10K", 10240: "10K",
		10241: "11K", 1048575: "1.0M", 1<<20 + 1: "1.1M", 1 << 60: "1.0E", 1<<64 - 1: "16E"} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, expected %s", n, got, want)
		}
	}
}
