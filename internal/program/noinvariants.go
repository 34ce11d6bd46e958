//go:build !invariants

package program

const invariants = ""
