// Package sched explores interleavings: a seeded scheduler decides at each yield point (package yield) which goroutine
// goes on. It runs in a bubble of testing/synctest, where time is virtual, and needs a build with -tags testhooks.
//
// All goroutines but one are parked at yield points or blocked; the seed chooses the next of those that are parked. Now
// and then one is held back for many steps, so that the others overtake it far (as in PCT: Burckhardt et al., ASPLOS
// 2010, where a few changes of priority find most defects). When none is parked, time goes on to the next timer.
package sched
