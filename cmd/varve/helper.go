package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// errDryRun ends a mount that mount(8) only tries out (-f).
var errDryRun = errors.New("a dry run: nothing was mounted")

// mountHelperArgs turns the arguments that mount(8) gives to a helper (mount.TYPE SOURCE DIR [-sfnv] [-N namespace] [-o
// options] [-t type]; see mount(8), "EXTERNAL HELPERS") into those of varve mount.
func mountHelperArgs(args []string) ([]string, error) {
	out := []string{"mount"}
	verbose, places := false, 0
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-o" && i+1 < len(args):
			i++
			out = append(out, "-o", withoutRW(args[i]))
		case (a == "-t" || a == "-N") && i+1 < len(args):
			i++
		case strings.HasPrefix(a, "-") && strings.Trim(a[1:], "sfnvrw") == "" && len(a) > 1:
			if strings.Contains(a, "f") {
				return nil, errDryRun
			}
			verbose = verbose || strings.Contains(a, "v")
		case strings.HasPrefix(a, "-"):
			return nil, usageError{
				fmt.Errorf("unknown option %q; usage: mount.varve SOURCE DIR [-sfnv] [-o options]", a),
			}
		default:
			places++
			out = append(out, a)
		}
	}
	if places != 2 {
		return nil, usageError{fmt.Errorf("usage: mount.varve SOURCE DIR [-sfnv] [-o options]")}
	}
	if !verbose {
		out = append(out, "--quiet")
	}
	return out, nil
}

// withoutRW takes rw out of a list of options, with a warning: mount(8) adds rw wherever the user did not write ro. rw
// stays where the list has an option that only read-write mounts take.
func withoutRW(list string) string {
	var kept []string
	if o, err := parseMountOptions([]string{list}); err != nil || len(o.given) > 0 {
		return list // a list that is wrong, too: varve mount refuses it, and nothing is mounted
	}
	for _, o := range strings.Split(list, ",") {
		if o == "rw" {
			fmt.Fprintln(os.Stderr,
				"varve: WARNING: mounting read-only (say -o ro to be rid of this line, or -o commit=5 to write)")
			continue
		}
		kept = append(kept, o)
	}
	return strings.Join(kept, ",")
}

// umountHelperArgs turns the arguments that umount(8) gives to a helper (umount.TYPE DIR [-flnrv] [-N namespace] [-t
// type]; see umount(8), "EXTERNAL HELPERS") into those of varve umount.
func umountHelperArgs(args []string) ([]string, error) {
	out := []string{"umount"}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case (a == "-t" || a == "-N") && i+1 < len(args):
			i++
		case strings.HasPrefix(a, "-") && strings.Trim(a[1:], "flnrv") == "" && len(a) > 1:
			if strings.Contains(a, "l") {
				out = append(out, "--lazy")
			}
		case strings.HasPrefix(a, "-"):
			return nil, usageError{fmt.Errorf("unknown option %q; usage: umount.varve DIR [-flnrv]", a)}
		default:
			out = append(out, a)
		}
	}
	return out, nil
}
