package main

import (
	"runtime"
	"testing"
)

// TestVersion names the version, the compiler and the platform.
func TestVersion(t *testing.T) {
	checkCommands(t, []commandCase{
		{[]string{"version"}, exitOK, "varve " + version + " (revision ", ""},
		{[]string{"version", "more"}, exitUsage, "", "unknown command"},
		{[]string{"version", "--xml"}, exitUsage, "", "see varve version --help"},
	})
	var doc map[string]any
	parseJSON(t, &doc, "version", "--json")
	if doc["version"] != version || doc["go"] != runtime.Version() ||
		doc["platform"] != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%v", doc)
	}
}
