package ext4_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// openImage opens an image until the test ends.
func openImage(t testing.TB, path string, opts ext4.Options) *ext4.FS {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fsys, err := ext4.Open(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// TestReplay_DirtyJournals cuts a writer off in the middle of its work, by copying the image below its feet, and
// compares what varve shows of the copy with what the kernel shows after its own recovery of another copy.
func TestReplay_DirtyJournals(t *testing.T) {
	type form struct {
		name    string
		mkfs    []string
		mount   string
		work    func(t *testing.T, dir string, round int)
		journal int64 // size of an external journal in bytes
		want    string
	}
	for _, c := range oracle.Share(1, 2, []form{
		{name: "csum-v3-64bit", mkfs: []string{"-O", "64bit,metadata_csum"}, work: churn, want: "journal_checksum_v3"},
		{name: "no-csum", mkfs: []string{"-O", "^64bit,^metadata_csum"}, work: churn},
		{name: "csum-v1", mkfs: []string{"-O", "^64bit,^metadata_csum"}, mount: "journal_checksum", work: churn,
			want: "journal_checksum"},
		{name: "async-commit", mkfs: []string{"-O", "^64bit,^metadata_csum"},
			mount: "journal_async_commit,data=writeback", work: churn, want: "journal_async_commit"},
		{name: "ext3", mkfs: []string{"-t", "ext3", "-b", "1024"}, work: churn},
		{name: "1k-blocks", mkfs: []string{"-b", "1024"}, work: churn},
		{name: "data-journal-escaped", mount: "data=journal", work: escaped},
		{name: "wrapped", mkfs: []string{"-b", "1024", "-J", "size=1"}, work: wrap},
		{name: "revoked", mkfs: []string{"-b", "1024", "-J", "size=4"}, mount: "data=journal", work: revoke},
		{name: "fast-commit", mkfs: []string{"-O", "fast_commit"}, work: fastCommits, want: "FEATURE_I5"},
		{name: "fast-commit-1k", mkfs: []string{"-b", "1024", "-O", "fast_commit"}, work: fastCommits},
		{name: "orphans", mkfs: []string{"-O", "orphan_file"}, work: orphans},
		{name: "external", journal: 8 << 20, work: churn},
	}) {
		t.Run(c.name, func(t *testing.T) {
			oracle.Need(t, "mkfs.ext4", "dumpe2fs")
			oracle.NeedRoot(t)
			image, journal, options := replayImage(t, c.mkfs, c.journal)
			if c.mount != "" {
				options = strings.TrimPrefix(options+","+c.mount, ",")
			}
			dir, unmount := oracle.MountKernel(t, image, options)
			for round := range 3 {
				c.work(t, dir, round)
				compareReplay(t, image, journal, c.want)
			}
			unmount()
		})
	}
}

// replayImage makes an image, with an external journal if that has a size.
func replayImage(t *testing.T, mkfs []string, journalSize int64) (image, journal, options string) {
	t.Helper()
	if journalSize > 0 {
		journal = oracle.NewImage(t, journalSize, "-O", "journal_dev", "-b", "4096")
		device, _ := oracle.Loop(t, journal)
		mkfs = append(mkfs, "-b", "4096", "-J", "device="+device)
		options = "journal_path=" + device
	}
	return oracle.NewImage(t, 64<<20, mkfs...), journal, options
}

// compareReplay copies a mounted image twice and compares the kernel's recovery of one copy with varve's view of the
// other, which must stay as it is.
func compareReplay(t *testing.T, image, journal, feature string) {
	t.Helper()
	dirty := oracle.Copy(t, image)
	opts := ext4.Options{}
	kernelOptions := "rw" // the kernel cannot replay fast commits on a read-only mount
	if journal != "" {
		copied := oracle.Copy(t, journal)
		f, err := os.Open(copied)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		opts.Journal = f
		device, detach := oracle.Loop(t, oracle.Copy(t, journal))
		defer detach()
		kernelOptions += ",journal_path=" + device
	}
	if feature != "" {
		if out := oracle.MustRun(t, "dumpe2fs", "-h", dirty); !strings.Contains(out, feature) {
			t.Fatalf("the journal lacks %s:\n%s", feature, out)
		}
	}
	before := oracle.HashFile(t, dirty)
	recovered := oracle.Copy(t, dirty)
	dir, unmount := oracle.MountKernel(t, recovered, kernelOptions)
	want := oracle.Tree(t, dir)
	unmount()
	fsys := openImage(t, dirty, opts)
	if !fsys.NeedsRecovery() {
		t.Fatal("the image does not need recovery: nothing is tested")
	}
	got := oracle.View(t, fsys)
	if fsys.Superblock().Compat&disk.CompatFastCommit != 0 {
		// Fast commits do not log directories: the kernel gives those that it changes the time of its replay.
		forgetDirectories(want)
		forgetDirectories(got)
	}
	oracle.Compare(t, "kernel", want, "varve", got)
	if oracle.HashFile(t, dirty) != before {
		t.Error("reading the image changed it")
	}
}

func forgetDirectories(m oracle.Manifest) {
	for path, n := range m {
		if n.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Mtime, n.Ctime, n.Size, n.Blocks = "", "", 0, 0
			m[path] = n
		}
	}
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func syncFS(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	fatal(t, err)
	defer f.Close()
	fatal(t, unix.Syncfs(int(f.Fd())))
}

// churn creates, renames, links, changes and removes files in several transactions.
func churn(t *testing.T, dir string, round int) {
	r := rand.New(rand.NewPCG(3, uint64(round)))
	for i := range 200 {
		p := filepath.Join(dir, fmt.Sprintf("d%d", i%10), fmt.Sprintf("f%d-%d", round, i))
		fatal(t, os.MkdirAll(filepath.Dir(p), 0o755))
		fatal(t, os.WriteFile(p, bytes.Repeat([]byte{byte(i)}, r.IntN(20000)), 0o644))
		switch i % 5 {
		case 0:
			fatal(t, os.Rename(p, p+"-renamed"))
		case 1:
			fatal(t, os.Link(p, p+"-linked"))
		case 2:
			fatal(t, os.Remove(p))
		case 3:
			fatal(t, os.Truncate(p, 100))
		}
		if i%60 == 59 {
			syncFS(t, dir)
		}
	}
}

// escaped writes blocks that begin with the journal's magic, through the journal.
func escaped(t *testing.T, dir string, round int) {
	block := append([]byte{0xc0, 0x3b, 0x39, 0x98}, bytes.Repeat([]byte{byte(round)}, 4092)...)
	fatal(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("magic", round)), bytes.Repeat(block, 20), 0o644))
	churn(t, dir, round)
	syncFS(t, dir)
}

// wrap writes much more than the log holds.
func wrap(t *testing.T, dir string, round int) {
	for i := range 10 {
		churn(t, dir, round*10+i)
		fatal(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("d%d", i))))
		syncFS(t, dir)
	}
}

// revoke frees directory blocks that are in the log, and has files take their place.
func revoke(t *testing.T, dir string, round int) {
	sub := filepath.Join(dir, "many")
	for i := range 6 {
		fatal(t, os.MkdirAll(sub, 0o755))
		for j := range 300 {
			fatal(t, os.WriteFile(filepath.Join(sub, fmt.Sprintf("%d-%s", j, strings.Repeat("x", 100))), nil, 0o644))
		}
		syncFS(t, dir)
		fatal(t, os.RemoveAll(sub))
		syncFS(t, dir)
		fatal(
			t,
			os.WriteFile(
				filepath.Join(dir, fmt.Sprintf("file%d-%d", round, i)),
				bytes.Repeat([]byte("revoked?"), 8000),
				0o644,
			),
		)
		syncFS(t, dir)
	}
}

// fastCommits fsyncs single files, which the kernel logs as fast commits.
func fastCommits(t *testing.T, dir string, round int) {
	churn(t, dir, round)
	syncFS(t, dir)
	sub := filepath.Join(dir, "d1")
	write := func(name string, at int64, n int) {
		f, err := os.OpenFile(filepath.Join(sub, name), os.O_RDWR|os.O_CREATE, 0o644)
		fatal(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte(name[:1]), n), at)
		fatal(t, err)
		fatal(t, f.Sync())
		fatal(t, f.Close())
	}
	for i := range 12 {
		name := fmt.Sprintf("%c-fast%d", 'a'+i, round)
		write(name, 0, 5000)
		write(name, int64(20000*(i+1)), 9000)
	}
	name := filepath.Join(sub, fmt.Sprintf("a-fast%d", round))
	fatal(t, os.Link(name, name+"-link"))
	fatal(t, os.Remove(filepath.Join(sub, fmt.Sprintf("b-fast%d", round))))
	fatal(
		t,
		os.Rename(
			filepath.Join(sub, fmt.Sprintf("c-fast%d", round)),
			filepath.Join(sub, fmt.Sprintf("moved%d", round)),
		),
	)
	write(fmt.Sprintf("z-last%d", round), 0, 100)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	fatal(t, err)
	fatal(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	fatal(t, f.Truncate(22000))
	fatal(t, f.Sync())
	fatal(t, f.Close())
}

// orphans leaves files that are open and unlinked.
func orphans(t *testing.T, dir string, round int) {
	churn(t, dir, round)
	for i := range 5 {
		p := filepath.Join(dir, fmt.Sprint("orphan", i))
		f, err := os.Create(p)
		fatal(t, err)
		defer f.Close()
		_, err = f.Write(bytes.Repeat([]byte("o"), 30000))
		fatal(t, err)
		fatal(t, os.Remove(p))
	}
	syncFS(t, dir)
}

// TestReplay_NoRecovery shows the files as they are at home.
func TestReplay_NoRecovery(t *testing.T) {
	image := oracle.NewImage(t, 64<<20)
	dir, unmount := oracle.MountKernel(t, image, "")
	churn(t, dir, 0)
	syncFS(t, dir)
	dirty := oracle.Copy(t, image)
	unmount()
	with, without := openImage(t, dirty, ext4.Options{}), openImage(t, dirty, ext4.Options{NoRecovery: true})
	if with.Replayed() == 0 || without.Replayed() != 0 {
		t.Errorf("%d and %d blocks were replayed", with.Replayed(), without.Replayed())
	}
	if _, err := without.Resolve("/lost+found", true); err != nil {
		t.Error(err)
	}
}

// TestReplay_Versions replays journals that debugfs wrote, in the checksum versions that today's kernel no longer
// writes, with a revocation. The kernel recovers them all.
func TestReplay_Versions(t *testing.T) {
	oracle.Need(t, "debugfs", "dumpe2fs")
	for _, c := range []struct {
		version, features, want string
	}{
		{"", "^metadata_csum,^64bit", ""},
		{"-c -v 2", "metadata_csum,^64bit", "journal_checksum_v2"},
		{"-c -v 2", "metadata_csum,64bit", "journal_checksum_v2"},
		{"-c -v 3", "metadata_csum,^64bit", "journal_checksum_v3"},
		{"-c -v 3", "metadata_csum,64bit", "journal_checksum_v3"},
	} {
		t.Run(strings.TrimSpace(c.version+" "+c.features), func(t *testing.T) {
			source := t.TempDir()
			for i := range 4 {
				fatal(
					t,
					os.WriteFile(
						filepath.Join(source, fmt.Sprint("f", i)),
						bytes.Repeat([]byte{byte('a' + i)}, 1024),
						0o644,
					),
				)
			}
			image := oracle.NewImage(t, 16<<20, "-b", "1024", "-O", c.features, "-d", source)
			place := func(name string) string {
				out := oracle.MustRun(t, "debugfs", "-R", "bmap "+name+" 0", image)
				lines := strings.Fields(strings.TrimSpace(out))
				return lines[len(lines)-1]
			}
			data := filepath.Join(t.TempDir(), "data")
			fatal(
				t,
				os.WriteFile(data, append([]byte{0xc0, 0x3b, 0x39, 0x98}, bytes.Repeat([]byte("new!"), 255)...), 0o644),
			)
			script := filepath.Join(t.TempDir(), "script")
			fatal(
				t,
				os.WriteFile(script, []byte(fmt.Sprintf("jo %s\njw -b %s %s\njw -b %s %s\njw -r %s\njc\n", c.version,
					place("f0"), data, place("f1"), data, place("f1"))), 0o644),
			)
			oracle.MustRun(t, "debugfs", "-w", "-f", script, image)
			compareReplay(t, image, "", c.want)
			fsys := openImage(t, image, ext4.Options{})
			first, err := fsys.IOFS().ReadFile("f0")
			fatal(t, err)
			revoked, err := fsys.IOFS().ReadFile("f1")
			fatal(t, err)
			if !bytes.HasPrefix(first, []byte{0xc0, 0x3b, 0x39, 0x98, 'n'}) || revoked[0] != 'b' {
				t.Errorf("f0 begins with %q, f1 with %q", first[:8], revoked[:8])
			}
		})
	}
}
