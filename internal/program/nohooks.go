//go:build !testhooks

package program

const hooks = ""
