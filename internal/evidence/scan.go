package evidence

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followEvery is how often a ledger is read again.
const followEvery = 100 * time.Millisecond

// Scan reads the records of a ledger until do returns an error, and passes over lines that are none.
func Scan(r io.Reader, do func(Record) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<16), maxLine)
	for sc.Scan() {
		var rec Record
		if json.Unmarshal(sc.Bytes(), &rec) != nil || rec.Event == "" {
			continue
		}
		if err := do(rec); err != nil {
			return err
		}
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("no evidence ledger: a line is longer than %d bytes", maxLine)
	} else if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	return nil
}

// Follow reads a ledger's records, and goes on with those that are appended, and with the file that replaces a full
// one, until ctx ends (nil), or do returns an error.
func Follow(ctx context.Context, path string, do func(Record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	again := time.NewTicker(followEvery)
	defer again.Stop()
	in := bufio.NewReader(f)
	var line []byte
	for {
		replaced := isReplaced(f, path)
		for {
			part, err := in.ReadSlice('\n')
			if line = append(line, part...); err == nil {
				var rec Record
				if json.Unmarshal(line, &rec) == nil && rec.Event != "" {
					if err := do(rec); err != nil {
						return err
					}
				}
				line = line[:0]
				continue
			}
			if len(line) > maxLine {
				return fmt.Errorf("%s: no evidence ledger: a line is longer than %d bytes", path, maxLine)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
		if replaced { // and read to its end after that
			next, err := os.Open(path)
			if err == nil {
				f.Close()
				f, in, line = next, bufio.NewReader(next), line[:0]
				continue
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// isReplaced reports whether a path names another file than the one that is open.
func isReplaced(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && !os.SameFile(open, now)
}
