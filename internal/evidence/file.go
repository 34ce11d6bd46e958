package evidence

import (
	"errors"
	"os"
)

// eventsPerSecond is the rate of a ledger in a file.
const eventsPerSecond = 20_000

// File is a ledger that is appended to a file.
type File struct {
	*Ledger
	file *os.File
}

// Append begins a ledger at the end of a file, and creates the file if there is none.
func Append(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &File{NewLedger(f, eventsPerSecond), f}, nil
}

// Close writes the events that the ledger holds, and closes the file.
func (f *File) Close() error { return errors.Join(f.Ledger.Close(), f.file.Close()) }
