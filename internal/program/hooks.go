//go:build testhooks

package program

const tags = "testhooks"
