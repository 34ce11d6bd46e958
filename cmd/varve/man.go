package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory, which is made where it is missing",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same source gives the same pages
			for _, c := range root.Commands() {
				c.Long = keepTables(c.Long)
			}
			return doc.GenManTree(root,
				&doc.GenManHeader{Title: "VARVE", Section: "8", Source: "varve " + version, Manual: "varve"}, args[0])
		},
	}
}

// keepTables indents the lines that are indented already to where Markdown, of which cobra makes the pages, leaves
// their lines as they are: else a list of options becomes one filled paragraph.
func keepTables(text string) string {
	var out []string
	before := ""
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "  ") {
			if before != "" && !strings.HasPrefix(before, "  ") {
				out = append(out, "")
			}
			out = append(out, "  "+line)
		} else {
			if strings.HasPrefix(before, "  ") && line != "" {
				out = append(out, "")
			}
			out = append(out, line)
		}
		before = line
	}
	return strings.Join(out, "\n")
}
