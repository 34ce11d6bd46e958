package fuse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
)

// TestErrno_Table: each error by the errno that callers see, also where it is wrapped.
func TestErrno_Table(t *testing.T) {
	table := map[string]struct {
		err  error
		want syscall.Errno
	}{
		"ErrNotExist": {ext4.ErrNotExist, syscall.ENOENT}, "ErrNoXattr": {ext4.ErrNoXattr, syscall.ENODATA},
		"ErrNotDir": {
			ext4.ErrNotDir,
			syscall.ENOTDIR,
		}, "ErrLoop": {ext4.ErrLoop, syscall.ELOOP}, "ErrNoKey": {ext4.ErrNoKey, syscall.ENOKEY},
		"ErrNoData": {
			ext4.ErrNoData,
			syscall.ENXIO,
		}, "ErrStale": {ext4.ErrStale, syscall.ESTALE}, "ErrTooLong": {ext4.ErrTooLong, syscall.ENAMETOOLONG},
		"ErrInvalid": {
			ext4.ErrInvalid,
			syscall.EINVAL,
		}, "ErrNeedsJournal": {ext4.ErrNeedsJournal, syscall.EIO}, "ErrExists": {ext4.ErrExists, syscall.EEXIST},
		"ErrNotEmpty": {
			ext4.ErrNotEmpty,
			syscall.ENOTEMPTY,
		}, "ErrIsDir": {ext4.ErrIsDir, syscall.EISDIR}, "ErrManyLinks": {ext4.ErrManyLinks, syscall.EMLINK},
		"ErrCross": {
			ext4.ErrCross,
			syscall.EXDEV,
		}, "ErrNotPermit": {ext4.ErrNotPermit, syscall.EPERM}, "ErrAccess": {ext4.ErrAccess, syscall.EACCES},
		"ErrXattrName": {
			ext4.ErrXattrName,
			syscall.ERANGE,
		}, "ErrNoSpace": {ext4.ErrNoSpace, syscall.ENOSPC}, "ErrTooBig": {ext4.ErrTooBig, syscall.EFBIG},
		"ErrFailed": {ext4.ErrFailed, syscall.EROFS}, "ErrShutdown": {ext4.ErrShutdown, syscall.EIO},
		"ErrQuota":    {ext4.ErrQuota, syscall.EDQUOT},
		"ErrVerity":   {ext4.ErrVerity, syscall.EIO},
		"ErrNeedsLog": {ext4.ErrNeedsLog, syscall.EIO}, "ErrForeignLog": {ext4.ErrForeignLog, syscall.EIO},

		"corrupt":           {ondisk.Corruptf("inode 12", "is damaged"), syscall.EUCLEAN},
		"unsupported":       {&ondisk.UnsupportedError{Feature: "x"}, syscall.EOPNOTSUPP},
		"interrupted":       {context.Canceled, syscall.EINTR},
		"cut short":         {io.ErrUnexpectedEOF, syscall.EIO},
		"a device's":        {syscall.ENOMEDIUM, syscall.EIO},
		"failed and shut":   {fmt.Errorf("%w: %w", ext4.ErrFailed, ext4.ErrShutdown), syscall.EIO},
		"failed by damage":  {fmt.Errorf("%w: %w", ext4.ErrFailed, ondisk.Corruptf("x", "y")), syscall.EUCLEAN},
		"the caller's page": {syscall.EFAULT, syscall.EFAULT},
	}
	for what, c := range table {
		for _, err := range []error{c.err, fmt.Errorf("read: %w", c.err), errors.Join(c.err, nil)} {
			if got := errnoOf(err); got != c.want {
				t.Errorf("%s (%v): %v, expected %v", what, err, got, c.want)
			}
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../ext4/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			found++
			if _, ok := table[spec.Names[0].Name]; !ok {
				t.Errorf("ext4.%s has no errno here", spec.Names[0].Name)
			}
		}
		return true
	})
	if found < 20 {
		t.Errorf("%d errors were found in ext4/errors.go", found)
	}
}

// TestReporter_Log: damage and failures are logged, at most once a second; what callers do wrong, and a shutdown, are
// not.
func TestReporter_Log(t *testing.T) {
	var out bytes.Buffer
	var damaged atomic.Int64
	r := reporter{log: log.New(&out, "", 0), last: new(atomic.Int64), damaged: func(string, error) { damaged.Add(1) }}
	for _, err := range []error{nil, ext4.ErrNotExist, ext4.ErrNoSpace, ext4.ErrShutdown, context.Canceled} {
		r.status("op", err)
	}
	if out.Len() != 0 || damaged.Load() != 0 {
		t.Errorf("the log has %q", out.String())
	}
	for range 50 {
		r.status("lookup", ondisk.Corruptf("inode 12", "is damaged"))
	}
	if lines := strings.Count(out.String(), "\n"); lines < 1 || lines > 3 || !strings.Contains(out.String(), "lookup") {
		t.Errorf("the log has %q", out.String())
	}
	for end := time.Now().Add(5 * time.Second); damaged.Load() < 50 &&
		time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if damaged.Load() != 50 {
		t.Errorf("damage was noted %d times", damaged.Load())
	}
}
