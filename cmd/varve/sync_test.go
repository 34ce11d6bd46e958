package main

import "testing"

// TestSync_Refused, and the other commands that need a mount of varve's, name the directory that has none.
func TestSync_Refused(t *testing.T) {
	dir := t.TempDir()
	checkCommands(t, []commandCase{
		{[]string{"sync", dir}, exitSystem, "", dir + " is no mount of varve's"},
		{[]string{"sync", "/proc"}, exitSystem, "", "is no mount of varve's"},
		{[]string{"sync"}, exitUsage, "", "usage: varve sync DIR"},
		{[]string{"stats", dir}, exitSystem, "", dir + " is no mount of varve's"},
		{[]string{"stats", "--json", dir + "/missing/below"}, exitSystem, "", "no such file"},
		{[]string{"stats"}, exitUsage, "", "usage: varve stats DIR"},
		{[]string{"umount", dir}, exitMount, "", dir + " is not mounted"},
		{[]string{"umount", "-l", "/proc"}, exitMount, "", "type proc"},
		{[]string{"umount", dir, "--timeout", "soon"}, exitUsage, "", "see varve umount --help"},
		{[]string{"demo", "more"}, exitUsage, "", "unknown command"},
		{[]string{"man"}, exitUsage, "", "usage: varve man DIR"},
		{[]string{"man", "/dev/null/below"}, exitSystem, "", "not a directory"},
	})
}
