package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/output"
)

// version is set by the linker for releases.
var version = "devel"

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			revision := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if asJSON {
				return output.WriteJSON(
					cmd.OutOrStdout(),
					map[string]any{"schema_version": output.SchemaVersion, "version": version,
						"revision": revision, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH},
				)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "varve %s (revision %s, %s, %s/%s)\n", version, revision,
				runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
