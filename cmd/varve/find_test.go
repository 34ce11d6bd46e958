package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// findings are expressions that varve find and find(1) are both asked.
var findings = [][]string{
	{}, {"-name", "*a*"}, {"-name", "[!a-l]*"}, {"-name", "of-[[:digit:]]"}, {"-iname", "LINK*"},
	{"-mindepth", "1", "-name", "?"},
	{"-path", "*/level3/*"}, {"-type", "f"}, {"-type", "d,l"}, {"-type", "c", "-o", "-type", "b", "-o", "-type", "p"},
	{"-size", "+10k"}, {"-size", "1"}, {"-size", "-2c"}, {"-size", "0"}, {"-empty"}, {"-mtime", "+3000"},
	{"-mtime", "-1"}, {"-mtime", "0"}, {"-mmin", "+600000"}, {"-newermt", "2000-01-01"},
	{"-newermt", "2290-01-02 03:04:05"},
	{"-uid", "+0"}, {"-gid", "1000"}, {"-user", "root", "-type", "l"}, {"-group", "1000"}, {"-user", "0"},
	{"-perm", "644"}, {"-perm", "-4000"}, {"-perm", "/111", "-type", "f"}, {"-perm", "u=rw,g=r,o=r"}, {"-perm", "-u+s"},
	{"-links", "+2"}, {"-links", "1"}, {"-inum", "12"}, {"-maxdepth", "1"}, {"-mindepth", "2", "-maxdepth", "3"},
	{"-maxdepth", "0"}, {"!", "-type", "f", "-a", "-not", "-type", "d"},
	{"(", "-name", "a*", "-o", "-name", "s*", ")", "-type", "d"}, {"-type", "d", "-o", "-name", "x*", "-size", "+0"},
	{"-type", "d", "-print", ",", "-name", "l*", "-print"}, {"-name", "w*", "-print", "-o", "-name", "t*", "-print"},
	{"-false", "-o", "-true"},
}

// judgeFind compares the paths that both find in an image, whose mount is dir. before has varve's answers.
func judgeFind(t *testing.T, before map[int]string, dir string) (compared int) {
	t.Helper()
	for i, args := range findings {
		got, ok := before[i]
		if !ok {
			continue
		}
		print0 := args
		if !slices.Contains(args, "-print") {
			print0 = append([]string{"("}, append(slices.Clone(args), ")", "-print0")...)
			if len(args) == 0 {
				print0 = []string{"-print0"}
			}
		}
		out, err := exec.Command("find", append([]string{dir}, print0...)...).Output()
		if err != nil {
			continue // the kernel cannot read all of it
		}
		split := "\x00"
		if slices.Contains(args, "-print") {
			split = "\n"
		}
		want := strings.Split(string(out), split)
		for k := range want {
			if want[k] = strings.TrimPrefix(want[k], dir); want[k] == "" && k < len(want)-1 {
				want[k] = "/"
			}
		}
		has := strings.Split(got, split)
		slices.Sort(want)
		slices.Sort(has)
		if compared++; !slices.Equal(has, want) {
			t.Errorf("find %v:\n%q; find(1):\n%q", args, has, want)
		}
	}
	return compared
}

// findAll asks varve, and returns the answers that are whole, by the place in findings.
func findAll(t *testing.T, image string) map[int]string {
	t.Helper()
	out := map[int]string{}
	for i, args := range findings {
		if i%6 != 0 && !strings.HasSuffix(t.Name(), filledName) {
			continue // a few of them for each of many images
		}
		print0 := slices.Clone(args)
		if !slices.Contains(args, "-print") && len(args) > 0 {
			print0 = append(append([]string{"("}, print0...), ")", "-print0")
		} else if len(args) == 0 {
			print0 = []string{"-print0"}
		}
		if text, code := answers(t, append([]string{"find", image}, print0...)...); code == exitOK {
			out[i] = text
		}
	}
	return out
}

// judgeTree compares varve find and du with find(1) and du(1) on the kernel's mount of an image that e2fsck calls
// clean. On others they must answer.
func judgeTree(t *testing.T, image string, judged map[string]int) {
	found, used := findAll(t, image), usageAll(t, image)
	if exec.Command("sh", "-c", `ulimit -t 1; exec e2fsck -fn "$0"`, image).Run() != nil {
		return
	}
	dir := t.TempDir()
	device, detach := oracle.Loop(t, image)
	defer detach()
	if exec.Command("mount", "-t", "ext4", "-o", "ro,noatime", device, dir).Run() != nil {
		return
	}
	defer oracle.MustRun(t, "umount", dir)
	judged["find"] += judgeFind(t, found, dir)
	judged["du"] += judgeUsage(t, used, dir)
}

// TestFind_Usage: expressions that are wrong, and the forms of output.
func TestFind_Usage(t *testing.T) {
	image := smallImage(t)
	checkCommands(t, []commandCase{
		{[]string{"find", image, "-frobnicate"}, exitUsage, "", "is not known"},
		{[]string{"find", image, "-name"}, exitUsage, "", "needs an argument"},
		{[]string{"find", image, "(", "-true"}, exitUsage, "", "closing parenthesis"},
		{[]string{"find", image, "-true", ")"}, exitUsage, "", "opening parenthesis"},
		{[]string{"find", image, "-size", "3x"}, exitUsage, "", "-size"},
		{[]string{"find", image, "-type", "z"}, exitUsage, "", "bcdpfls"},
		{[]string{"find", image, "-user", "no-such-user-here"}, exitUsage, "", "no such name"},
		{[]string{"find", image, "-newermt", "yesterday-ish"}, exitUsage, "", "expected a date"},
		{[]string{"find", image, "-true", "/dir"}, exitUsage, "", "paths come before"},
		{[]string{"find", image, "!"}, exitUsage, "", "missing at the end"},
		{[]string{"find", image, "/none"}, exitNotFound, "", "/none"},
		{[]string{"find", image, "/dir", "/link", "-type", "f", "-o", "-type", "l"}, exitOK,
			"/dir/inner\n/dir/sub/deep\n/link\n", ""},
		{[]string{"find", image, "-name", "hello", "-ls"}, exitOK, " -rw", ""},
		{[]string{"find", image, "-xattr", "user.none"}, exitOK, "", ""},
	})
	var doc struct {
		Files []*node
	}
	r := command(t, "find", "--json", image, "-name", "in*")
	if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil || len(doc.Files) != 1 ||
		doc.Files[0].Path != "/dir/inner" {
		t.Errorf("%v: %+v", err, r)
	}
	deep := append([]string{"find", image}, slices.Repeat([]string{"!"}, 5000)...)
	if r := command(t, append(deep, "-true")...); r.Code != exitUsage {
		t.Errorf("5000 negations: exit code %d", r.Code)
	}
}
