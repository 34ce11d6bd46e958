// Package mutant switches single promises of the engine off, so that tests can show that they would notice.
package mutant

import "sync/atomic"

// Promise is one of the durability promises W1 to W7.
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
)

var off atomic.Uint32

// Off reports whether a promise is switched off. In a program that calls no Switch it never is.
func Off(p Promise) bool { return Promise(off.Load()) == p }

// Switch switches one promise off, and every other one on.
func Switch(p Promise) { off.Store(uint32(p)) }
