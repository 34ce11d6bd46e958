package main

import (
	"fmt"
	"slices"
	"strings"
)

// title is the names of a row with the form of their value.
func (r *option) title() string {
	return strings.Join(r.names, ", ") + either(r.values != "", "="+r.values, "")
}

// widthOfHelp bounds the lines of the help.
const widthOfHelp = 110

// parts are the parts of both lists.
var parts = []struct {
	title string
	kinds []mountKind
}{
	{"For all mounts", []mountKind{allMounts}},
	{"For read-only mounts", []mountKind{readOnlyOnly}},
	{"For read-write mounts", []mountKind{readWriteOnly, writing}},
}

// rowsOf are the rows of some kinds, in the order of the table.
func rowsOf(kinds []mountKind) (out []*option) {
	for i := range optionTable {
		if slices.Contains(kinds, optionTable[i].mounts) {
			out = append(out, &optionTable[i])
		}
	}
	return out
}

// optionHelp is the table for varve mount --help.
func optionHelp() string {
	const column = 24
	var b strings.Builder
	for _, part := range parts {
		fmt.Fprintf(&b, "%s:\n", part.title)
		for _, r := range rowsOf(part.kinds) {
			head := "  " + r.title()
			if len(head) >= column {
				b.WriteString(head + "\n")
				head = ""
			}
			text := r.meaning + either(r.initial != "", " (default: "+r.initial+")", "")
			for _, line := range wrapWords(text, widthOfHelp-column) {
				fmt.Fprintf(&b, "%-*s%s\n", column, head, line)
				head = ""
			}
		}
	}
	return b.String()
}

// wrapWords breaks a text into lines of at most width bytes; a longer word has a line of its own.
func wrapWords(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// optionDocs is the table for docs/cli.md.
func optionDocs() string {
	var b strings.Builder
	b.WriteString("| option | mounts | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, part := range parts {
		for _, r := range rowsOf(part.kinds) {
			var names []string
			for _, n := range r.names {
				names = append(names, "`"+n+either(r.values != "", "="+r.values, "")+"`")
			}
			initial := either(findOption(r.initial) != nil, "`"+r.initial+"`", r.initial)
			row := []string{strings.Join(names, ", "), string(r.mounts), initial, r.meaning}
			for i, cell := range row {
				row[i] = strings.ReplaceAll(cell, "|", `\|`)
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	return b.String()
}
