//go:build testhooks

package apps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// app is an application. Its driver is a program that works in a directory and prints "ack N" when its transaction N is
// durable by the application's own rules; 0 is that of an empty state. check opens what a crash has left, has the
// application check it, and returns the last transaction that is there.
type app struct {
	name   string
	needs  []string // programs
	driver func(dir string, transactions int) *exec.Cmd
	check  func(dir string) (last int, err error)
	size   int64 // of the image, in MiB
	count  int   // transactions
	long   bool  // for the long run alone
}

var apps = []app{
	sqlite("sqlite, rollback journal deleted", "DELETE", "EXTRA", 2_000, 40),
	sqlite("sqlite, rollback journal truncated", "TRUNCATE", "FULL", 2_000, 40),
	sqlite("sqlite, WAL, truncated at 4 MiB", "WAL", "FULL", 100_000, 100),
	{name: "git commit and gc", needs: []string{"git"}, driver: gitDriver, check: gitCheck, size: 64, count: 12},
	{name: "maildir", driver: self("maildir"), check: maildirCheck, size: 64, count: 60},
	{name: "bbolt", driver: self("bbolt"), check: bboltCheck, size: 64, count: 60},
	{name: "PostgreSQL", needs: []string{"pg_ctlcluster", "runuser"}, driver: postgresDriver, check: postgresCheck,
		size: 192, count: 60, long: true},
}

// sqlite inserts a row a transaction. With a deleted journal FULL leaves the deletion to the next fsync (sqlite.org,
// "PRAGMA synchronous"), so that mode has EXTRA.
func sqlite(name, journal, synchronous string, bytes, count int) app {
	return app{name: name, needs: []string{"sqlite3", "stdbuf"}, size: 64, count: count,
		driver: func(dir string, transactions int) *exec.Cmd {
			var s strings.Builder
			fmt.Fprintf(&s, "PRAGMA journal_mode=%s;\nPRAGMA synchronous=%s;\nPRAGMA wal_autocheckpoint=0;\n", journal,
				synchronous)
			fmt.Fprintf(&s, "CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB);\nSELECT 'ack 0';\n")
			for i := 1; i <= transactions; i++ {
				fmt.Fprintf(&s, "INSERT INTO t VALUES (%d, zeroblob(%d) || randomblob(%d));\nSELECT 'ack %d';\n", i, bytes/2,
					bytes/2, i)
				if journal == "WAL" && i*bytes/(4<<20) != (i-1)*bytes/(4<<20) {
					s.WriteString("PRAGMA wal_checkpoint(TRUNCATE);\n")
				}
			}
			cmd := exec.Command("stdbuf", "-oL", "sqlite3", "-batch", "-bail", filepath.Join(dir, "db"))
			cmd.Stdin = strings.NewReader(s.String())
			return cmd
		},
		check: func(dir string) (int, error) {
			out, err := exec.Command("sqlite3", "-batch", "-bail", filepath.Join(dir, "db"),
				"PRAGMA integrity_check; SELECT count(*), ifnull(max(id), 0) FROM t;").CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("%w: %s", err, out)
			}
			var rows, last int
			if _, err := fmt.Sscanf(strings.ReplaceAll(string(out), "|", " "), "ok\n%d %d", &rows, &last); err != nil ||
				rows != last {
				return 0, fmt.Errorf("sqlite3 says %q", out)
			}
			return last, nil
		}}
}

// gitDriver commits, and collects garbage. git fsyncs what it writes, and no directory: the driver does, as a mail
// server would.
func gitDriver(dir string, transactions int) *exec.Cmd {
	script := `set -e; cd "$0"
git init -q -b main repo; cd repo
git config user.name varve; git config user.email varve@example.org
git config core.fsync all; git config core.fsyncMethod fsync; git config gc.auto 0
git commit -q --allow-empty -m 0; sync .git .git/refs/heads; echo ack 0
for i in $(seq $1); do
	echo $i > file$((i % 5)); git add .; git commit -q -m $i; sync .git/refs/heads; echo ack $i
	if [ $((i % 5)) = 0 ]; then git gc -q; fi
done`
	return exec.Command("bash", "-c", script, dir, strconv.Itoa(transactions))
}

func gitCheck(dir string) (int, error) {
	repo := filepath.Join(dir, "repo")
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", repo}, args...)...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := git("fsck", "--full", "--strict"); err != nil {
		return 0, err
	}
	out, err := git("log", "-1", "--format=%s")
	if err != nil {
		return 0, err
	}
	last, err := strconv.Atoi(out)
	if err != nil {
		return 0, err
	}
	if last > 0 {
		if out, err = git("show", fmt.Sprintf("HEAD:file%d", last%5)); err == nil && out != strconv.Itoa(last) {
			err = fmt.Errorf("commit %d has %q", last, out)
		}
	}
	return last, err
}

// driverEnv has this test binary run a driver instead of tests.
const driverEnv = "VARVE_APPS_DRIVER"

// self is a driver that this test binary has.
func self(name string) func(string, int) *exec.Cmd {
	return func(dir string, transactions int) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", dir, strconv.Itoa(transactions))
		cmd.Env = append(os.Environ(), driverEnv+"="+name)
		return cmd
	}
}

// TestMain runs a driver where that is asked for.
func TestMain(m *testing.M) {
	drivers := map[string]func(string, int) error{"maildir": deliver, "bbolt": put}
	drive := drivers[os.Getenv(driverEnv)]
	if drive == nil {
		os.Exit(run(m))
	}
	n, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = drive(os.Args[1], n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func mail(i int) []byte { return []byte(strings.Repeat(fmt.Sprintf("mail %d\n", i), 50+i*13%900)) }

// deliver delivers mails as maildir(5) says: written under tmp, fsynced, linked into new, and that fsynced.
func deliver(dir string, n int) error {
	for _, d := range []string{"tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	sync := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	}
	if err := sync(dir); err != nil {
		return err
	}
	fmt.Println("ack 0")
	for i := 1; i <= n; i++ {
		tmp, to := filepath.Join(dir, "tmp", fmt.Sprint(i)), filepath.Join(dir, "new", fmt.Sprint(i))
		if err := os.WriteFile(tmp, mail(i), 0o644); err != nil {
			return err
		}
		for _, step := range []func() error{
			func() error { return sync(tmp) },
			func() error { return os.Link(tmp, to) },
			func() error { return os.Remove(tmp) },
			func() error { return sync(filepath.Join(dir, "new")) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		fmt.Printf("ack %d\n", i)
	}
	return nil
}

func maildirCheck(dir string) (int, error) {
	last := 0
	for ; ; last++ {
		p, err := os.ReadFile(filepath.Join(dir, "new", fmt.Sprint(last+1)))
		if os.IsNotExist(err) {
			break
		}
		if err != nil {
			return 0, err
		}
		if string(p) != string(mail(last+1)) {
			return 0, fmt.Errorf("mail %d has %d bytes, and not those that were delivered", last+1, len(p))
		}
	}
	list, err := os.ReadDir(filepath.Join(dir, "new"))
	if err == nil && len(list) != last {
		err = fmt.Errorf("%d mails, of which %d follow one another", len(list), last)
	}
	return last, err
}

var bucket = []byte("t")

// put commits to a bbolt database.
func put(dir string, n int) error {
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o644, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	for i := range n + 1 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err == nil && i > 0 {
				err = b.Put([]byte(fmt.Sprintf("%06d", i)), mail(i))
			}
			return err
		})
		if err != nil {
			return err
		}
		if i == 0 { // bbolt fsyncs its file, not the directory that has the name
			f, err := os.Open(dir)
			if err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
			f.Close()
		}
		fmt.Printf("ack %d\n", i)
	}
	return nil
}

func bboltCheck(dir string) (last int, err error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o644, nil)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		b := tx.Bucket(bucket)
		if b == nil {
			return fmt.Errorf("the bucket is missing")
		}
		return b.ForEach(func(k, v []byte) error {
			last++
			if string(k) != fmt.Sprintf("%06d", last) || string(v) != string(mail(last)) {
				return fmt.Errorf("key %s, %d bytes, where %d is due", k, len(v), last)
			}
			return nil
		})
	})
	return last, err
}
