package top

import (
	"context"
	"io"
	"os"

	tea "charm.land/bubbletea/v2"
)

// Run shows the pages on a terminal until a key, the source or ctx ends them. The source's end is said on errOut, when
// the terminal is as it was. The end of ctx is no error.
func Run(ctx context.Context, src Source, in, out *os.File, errOut io.Writer, dir string) error {
	m := New(ctx, src, dir)
	first, err := src.Ask(ctx) // a source that does not answer has no pages
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return ending(err, errOut)
	}
	m.Update(first)
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out),
		tea.WithoutSignalHandler()).Run()
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	return ending(m.Err(), errOut)
}
