package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/dump"
	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// dumped is the document of varve dump --json.
type dumped struct {
	Structure string
	Records   []dump.Record
}

// dumpOf runs varve dump on an image.
func dumpOf(t *testing.T, structure, image string, which ...string) (d dumped, code int) {
	t.Helper()
	out, code := answers(t, append([]string{"dump", "--norecovery", "--json", structure, image}, which...)...)
	if out == "" {
		return d, code
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("dump %s %v: %v", structure, which, err)
	}
	for i := range d.Records {
		if d.Records[i].Problem != "" && code == exitOK {
			t.Errorf("dump %s %v: exit code 0 with %q", structure, which, d.Records[i].Problem)
		}
	}
	return d, code
}

// value is a field of the first record that has it: a number, or text.
func (d dumped) value(name string) string {
	for i := range d.Records {
		if v, ok := valueOf(&d.Records[i], name); ok {
			return v
		}
	}
	return ""
}

func valueOf(r *dump.Record, name string) (string, bool) {
	for i := range r.Fields {
		switch f := &r.Fields[i]; {
		case f.Name != name:
		case f.Number != nil:
			return strconv.FormatInt(*f.Number, 10), true
		default:
			return f.Text, true
		}
	}
	return "", false
}

// rows are the entries of a kind: the named fields of each, with blanks between.
func (d dumped) rows(kind string, names ...string) []string {
	var out []string
	for i := range d.Records {
		if d.Records[i].Kind != kind {
			continue
		}
		var row []string
		for _, name := range names {
			v, _ := valueOf(&d.Records[i], name)
			row = append(row, v)
		}
		out = append(out, strings.Join(row, " "))
	}
	return out
}

// matches are the submatches of a pattern, with blanks between.
func matches(pattern, text string) []string {
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, strings.Join(m[1:], " "))
	}
	return out
}

// judgeDump compares what is dumped of an image with what dumpe2fs and debugfs print of it.
func judgeDump(t *testing.T, image string, judged map[string]int) {
	judgeSuperblock(t, image, judged)
	judgeInodes(t, image, judged)
	judgeJournal(t, image, judged)
}

// headFields are fields of the superblock, and what dumpe2fs calls them.
var headFields = map[string]string{"s_inodes_count": "Inode count", "s_blocks_count_lo": "Block count",
	"s_r_blocks_count_lo": "Reserved block count", "s_free_blocks_count_lo": "Free blocks",
	"s_free_inodes_count": "Free inodes", "s_first_data_block": "First block", "s_blocks_per_group": "Blocks per group",
	"s_inodes_per_group": "Inodes per group", "s_mnt_count": "Mount count", "s_desc_size": "Group descriptor size",
	"s_reserved_gdt_blocks": "Reserved GDT blocks", "s_first_ino": "First inode", "s_inode_size": "Inode size",
	"s_min_extra_isize": "Required extra isize", "s_want_extra_isize": "Desired extra isize",
	"s_journal_inum": "Journal inode", "s_uuid": "Filesystem UUID", "s_hash_seed": "Directory Hash Seed",
	"s_last_orphan": "First orphan inode", "s_raid_stride": "RAID stride", "s_mmp_block": "MMP block number"}

func judgeSuperblock(t *testing.T, image string, judged map[string]int) {
	out, err := exec.Command("dumpe2fs", "-h", image).Output()
	head := dumpe2fsHead(string(out))
	d, code := dumpOf(t, "superblock", image)
	if err != nil || head["Block count"] == "" {
		return
	}
	judged["superblock"]++
	for field, name := range headFields {
		want, ok := head[name]
		old := head["Filesystem revision #"] != "1 (dynamic)" // it has not all of the fields
		if !ok || want == "<none>" || old && (field == "s_first_ino" || field == "s_inode_size") {
			continue
		}
		if n, err := strconv.ParseUint(want, 10, 64); err == nil && strings.HasSuffix(field, "_lo") {
			want = strconv.FormatUint(n&(1<<32-1), 10)
		}
		if got := d.value(field); got != want {
			t.Errorf("superblock (exit code %d): %s is %q; dumpe2fs has %q as %s", code, field, got, want, name)
		}
	}
}

// dumpe2fsHead is the superblock as dumpe2fs prints it, by name.
func dumpe2fsHead(out string) map[string]string {
	head := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && head[name] == "" {
			head[name] = strings.TrimSpace(value)
		}
	}
	return head
}

// judgeInodes compares the first inodes of an image, and the root's.
func judgeInodes(t *testing.T, image string, judged map[string]int) {
	super, _ := dumpOf(t, "superblock", image)
	last, _ := strconv.Atoi(super.value("s_inodes_count"))
	var commands []string
	inodes := []int{2, 11, 12}
	if strings.HasSuffix(t.Name(), filledName) {
		inodes = append(inodes, 1, 8, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30)
		for _, ino := range matches(`Inode: (\d+)`, askDebugfs(t, image, []string{"stat /wide"})[0]) {
			n, err := strconv.Atoi(ino)
			fatal(t, err)
			inodes = append(inodes, n) // has a hash tree
		}
	}
	inodes = slices.DeleteFunc(inodes, func(ino int) bool { return ino > last })
	for _, ino := range inodes {
		for _, c := range []string{"stat", "dump_extents", "ls -p", "htree_dump", "ea_list"} {
			commands = append(commands, fmt.Sprintf("%s <%d>", c, ino))
		}
	}
	said := askDebugfs(t, image, append(commands, "testb 20"))
	if said == nil {
		return
	}
	for i, ino := range inodes {
		judgeInode(t, image, ino, said[5*i:5*i+5], judged)
	}
	if d, _ := dumpOf(t, "block", image, "20"); d.value("state") == "free" || d.value("state") == "in use" {
		judged["block"]++
		if free := strings.Contains(said[len(said)-1], "not in use"); free != (d.value("state") == "free") {
			t.Errorf("block 20 is %s; debugfs: %s", d.value("state"), said[len(said)-1])
		}
	}
}

// judgeInode compares one inode with the answers of debugfs. Where the inode is damaged, debugfs gives up sooner.
func judgeInode(t *testing.T, image string, ino int, said []string, judged map[string]int) {
	which := fmt.Sprintf("<%d>", ino)
	d, code := dumpOf(t, "inode", image, which)
	if strings.HasSuffix(t.Name(), "/f_recnect_bad") {
		return // debugfs has the upper half of a directory's size, which the kernel has with large_dir only
	}
	if len(d.Records) == 0 || !strings.HasPrefix(said[0], "Inode: ") || code != exitOK {
		return
	}
	compare := func(what string, got, want []string) {
		t.Helper()
		judged[what]++
		if !slices.Equal(got, want) {
			t.Errorf("%s of inode %d:\n%q; debugfs:\n%q", what, ino, got, want)
		}
	}
	stat := matches(`Mode:\s+0(\d+)   Flags: 0x([0-9a-f]+)\s+Generation: (\d+)[^@]*?Size: (\d+)[^@]*?`+
		`Links: (\d+)   Blockcount: (\d+)`, said[0])
	number := func(name string) uint64 { n, _ := strconv.ParseUint(d.value(name), 10, 64); return n }
	got := fmt.Sprintf("%03o %x %s %s %s %d", number("i_mode")&0o7777, number("i_flags"), d.value("i_generation"),
		d.value("size"), d.value("i_links_count"), number("blocks_512"))
	compare("inode", []string{got}, stat)
	mode, flags := uint16(number("i_mode")), uint32(number("i_flags"))
	if mode == 0 {
		return
	}
	if x, code := dumpOf(t, "extents", image, which); code == exitOK && flags&disk.InodeExtents != 0 {
		compare("extents", x.rows("extent", "ee_block", "ee_len"), extentsOf(said[1]))
	}
	if mode&disk.ModeType == disk.ModeDir {
		judgeDir(t, image, which, said, compare)
	}
	if x, code := dumpOf(t, "xattr", image, which); code == exitOK {
		var names []string
		for _, r := range x.Records {
			for i := range r.Fields {
				f := &r.Fields[i]
				if f.Name == "e_name_index" && f.Note != "" {
					names = append(names, f.Note)
				} else if f.Name == "e_name_index" {
					names = append(names, r.Fields[i+1].Text)
				}
			}
		}
		if len(names) > 0 && !strings.HasPrefix(said[4], "Extended attributes:") || strings.Contains(said[4], "  75 73 ") {
			return // a value cannot be read, or names are in hexadecimal digits
		}
		want := matches(`(?m)^  (\S+) \(\d+\)`, said[4])
		slices.Sort(names)
		slices.Sort(want)
		compare("xattr", names, want)
	}
}

// extentsOf are the first block and the length of each extent that dump_extents lists.
func extentsOf(out string) []string {
	var all []string
	row := regexp.MustCompile(`(?m)^ *(\d+)/ *(\d+) +\d+/ *\d+ +(\d+) - +\d+ +\d+ - +\d+ +(\d+)`)
	for _, m := range row.FindAllStringSubmatch(out, -1) {
		if m[1] == m[2] {
			all = append(all, m[3]+" "+m[4])
		}
	}
	return all
}

func judgeDir(t *testing.T, image, which string, said []string, compare func(what string, got, want []string)) {
	x, code := dumpOf(t, "dir", image, which)
	plain := !strings.ContainsFunc(said[2], func(r rune) bool { return r > 0x7e }) // debugfs prints others as they are
	if strings.HasSuffix(t.Name(), "/f_holedir4") {
		return // debugfs lists blocks behind the directory's end
	}
	if code == exitOK && strings.HasPrefix(said[2], "/") && plain && !strings.Contains(said[2], "new\nline") {
		var got []string
		want := matches(`(?m)^/([1-9]\d*)/\d*/\d*/\d*/(.*?)/\d*/$`, said[2])
		for _, e := range x.rows("entry", "inode", "name") {
			ino, _, _ := strings.Cut(e, " ")
			if ino == "0" {
				continue
			}
			if !slices.Contains(want, e) { // debugfs passes over inodes that are damaged
				if _, code := dumpOf(t, "inode", image, ino); code != exitOK {
					continue
				}
			}
			got = append(got, e)
		}
		if len(x.Records) > 0 && x.Records[0].Kind != "inline directory" {
			compare("dir", got, want)
		}
	}
	if x, code := dumpOf(t, "htree", image, which); code == exitOK && !strings.Contains(said[3], "while reading") {
		want := matches(`(?m)^Entry #\d+: Hash 0x([0-9a-f]+)(?: \(marked\))?, block (\d+)$`, said[3])
		root := x.Records[0]
		levels, _ := valueOf(&root, "indirect_levels")
		version, _ := valueOf(&root, "hash_version")
		compare("htree", []string{version, levels}, matches(`(?:Hash Version|Indirect levels): (\d+)`, said[3]))
		if levels == "0" { // debugfs lists the entries once more, each with its leaf
			var got []string
			for _, r := range x.rows("index", "hash", "block") {
				got = append(got, strings.TrimPrefix(r, "0x"))
			}
			compare("htree", got, want[:len(want)/2])
		}
	}
}

// judgeJournal compares the blocks of the log with what debugfs finds in it.
func judgeJournal(t *testing.T, image string, judged map[string]int) {
	d, code := dumpOf(t, "journal", image, nil...)
	said := askDebugfs(t, image, []string{"logdump"})
	if strings.HasSuffix(t.Name(), "/j_corrupt_sb_csum") {
		return // debugfs goes on by a superblock whose checksum is wrong
	}
	if said == nil || !strings.HasPrefix(said[0], "Journal starts") || code != exitOK && code != exitDamaged {
		return
	}
	judged["journal"]++
	var got []string
	for _, r := range d.Records {
		seq, ok := valueOf(&r, "h_sequence")
		kind, _ := valueOf(&r, "h_blocktype")
		if ok && strings.HasPrefix(r.Which, "in journal block") {
			got = append(got, seq+" "+kind+" "+strings.TrimPrefix(r.Which, "in journal block "))
		}
	}
	want := matches(`Found expected sequence (\d+), type (\d+) \([a-z ]+\) at block (\d+)`, said[0])
	if !slices.Equal(got, want) {
		t.Errorf("journal: %q; debugfs: %q\n%s", got, want, said[0])
	}
}

// TestDump_Usage: a structure that there is not, one that lacks its name, or a place that there is not.
func TestDump_Usage(t *testing.T) {
	image := smallImage(t, "-b", "1024")
	checkCommands(t, []commandCase{
		{[]string{"dump", "nothing", image}, exitUsage, "", "no structure"},
		{[]string{"dump", "inode", image}, exitUsage, "", "name one"},
		{[]string{"dump", "orphans", image, "3"}, exitUsage, "", "too much"},
		{[]string{"dump", "block", image, "x"}, exitUsage, "", "no number"},
		{[]string{"dump", "block", image, "16384"}, exitNotFound, "", "blocks 0 to 16383"},
		{[]string{"dump", "group", image, "2"}, exitNotFound, "", "groups 0 to 1"},
		{[]string{"dump", "inode", image, "/none"}, exitNotFound, "", "/none"},
		{[]string{"dump", "inode", image, "<99999>"}, exitNotFound, "", "inodes 1 to"},
		{[]string{"dump", "dir", image, "/hello"}, exitNotFound, "", "not a directory"},
		{[]string{"dump", "htree", image, "/dir"}, exitNotFound, "", "no hash tree"},
		{[]string{"dump", "superblock", image, "7"}, exitNotFound, "", "no copy"},
		{[]string{"dump", "superblock", image, "1"}, exitOK, "s_block_group_nr", ""},
		{[]string{"dump", "inode", image, "/link"}, exitOK, "symlink", ""},
		{[]string{"dump", "extents", image, "/link"}, exitOK, "hello", ""},
		{[]string{"dump", "journal", image, "0"}, exitOK, "s_maxlen", ""},
		{[]string{"dump", "orphans", image}, exitOK, "in_list", ""},
		{[]string{"dump", "block", image, "1", "--hex"}, exitOK, "53 ef", ""},
	})
}

// TestDump_Damaged shows what can be read of a damaged structure, says what is wrong, and exits with 11.
func TestDump_Damaged(t *testing.T) {
	oracle.Need(t, "debugfs")
	image := smallImage(t, "-b", "1024")
	noMagic := corrupt(t, image, func(p []byte) { p[1024+0x38] = 0 })
	badSum := corrupt(t, image, func(p []byte) { p[1024+0x200] ^= 0x40 })
	inode, _ := dumpOf(t, "inode", image, "/hello")
	at := int(*inode.Records[0].Block)*1024 + inode.Records[0].Offset
	badInode := corrupt(t, image, func(p []byte) { p[at+4] ^= 1 })
	root, _ := dumpOf(t, "dir", image, "/")
	leaf := int(*root.Records[0].Block) * 1024
	badDir := corrupt(t, image, func(p []byte) { p[leaf+4] = 7 })
	badName := corrupt(t, image, func(p []byte) { p[leaf+1000] ^= 1 })
	badMap := corrupt(t, image, func(p []byte) { p[at+0x28] = 0 })
	for _, c := range []struct {
		structure, image, which, shows, problem string
	}{
		{"superblock", noMagic, "", "s_inodes_count", "magic is"},
		{"superblock", badSum, "", "s_mount_opts", "checksum is"},
		{"inode", badInode, "/hello", "i_size_lo", "checksum is"},
		{"extents", badMap, "/hello", "eh_magic", "extent magic"},
		{"dir", badDir, "/", "directory block", "record length is 7"},
		{"dir", badName, "/", "lost+found", "checksum is"},
	} {
		args := []string{"dump", c.structure, c.image}
		if c.which != "" {
			args = append(args, c.which)
		}
		r := command(t, args...)
		if r.Code != exitDamaged || !strings.Contains(r.Stdout, c.shows) || !strings.Contains(r.Stdout, c.problem) ||
			r.Stderr == "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
