// Package mutant switches single promises of the engine off, so that tests can show that they would notice.
package mutant

import (
	"fmt"
	"sync/atomic"
)

// Promise is one of the durability promises W1 to W7, of the rules J1 to J9 of writing the journal, or of the dependencies D1 to D4 of operations on files.
type Promise uint32

// The promises that can be switched off.
const (
	None Promise = iota
	W1           // tells "durable" before the epoch is
	W2           // writes home what is not durable in the WAL
	W3           // does not flush ordered data before the epoch's end
	W4           // hands out a freed block at once
	W5           // recovery goes on past a record that is not whole
	W6           // gives log space back before the homes are flushed
	W7           // logs what a transaction saw instead of what arbitration made of it
	J1           // writes no revoke for a freed block
	J2           // writes a freed block's pending image home
	J3           // begins to log before the journal's start and the recovery flag are home
	J4           // moves the tail before the homes are written
	J5           // starts its sequences over
	J6           // does not escape the journal's magic
	J7           // clears the recovery flag before the homes are written
	J8           // takes the fast-commit area for a part of the log
	J9           // lets an epoch grow past a quarter of the journal
	D1           // creates in a directory without asking whether it is there when the creation commits
	D2           // inserts a name without depending on where the directory's blocks are, and on the index entries that bound its leaf
	D3           // removes a directory without depending on its blocks
	D4           // moves a directory without depending on the parents of its new place
)

func (p Promise) String() string {
	if p >= D1 {
		return fmt.Sprintf("D%d", p-D1+1)
	}
	if p >= J1 {
		return fmt.Sprintf("J%d", p-J1+1)
	}
	return fmt.Sprintf("W%d", p)
}

var off atomic.Uint32

// Off reports whether a promise is switched off. In a program that calls no Switch it never is.
func Off(p Promise) bool { return Promise(off.Load()) == p }

// Switch switches one promise off, and every other one on.
func Switch(p Promise) { off.Store(uint32(p)) }
