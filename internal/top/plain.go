package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// headerEvery is how many lines stand below a header.
const headerEvery = 20

// The columns are events a second, but for commits not durable, the time of a flush, and what follows.
const (
	plainHeader = "    ops  commit  confl  merge  abort   wait  undur  flush  ms/fl jnl% pressure"
	plainForm   = "%7s %7s %6s %6s %6s %6s %6d %6s %6s %4.0f %s\n"
)

// Print prints a line every interval, until count lines are printed (0: without end), the source ends or ctx does. What
// an answer lacks is said on errOut, once. Without a count ctx is the usual end, and no error.
func Print(ctx context.Context, src Source, out, errOut io.Writer, interval time.Duration, count int) error {
	var h History
	note := ""
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for printed := 0; ; {
		s, err := src.Ask(ctx)
		switch {
		case ctx.Err() != nil:
			return cutOff(ctx, count)
		case err != nil:
			return ending(err, errOut)
		}
		if s.Note != note {
			if note = s.Note; note != "" {
				fmt.Fprintf(errOut, "varve: %s: %s\n", src.Name, note)
			}
		}
		if h = h.Add(s); len(h) > 1 {
			if printed%headerEvery == 0 {
				if _, err := fmt.Fprintln(out, plainHeader); err != nil {
					return err
				}
			}
			if err := printPoint(out, h.Last()); err != nil {
				return err
			}
			if printed++; printed == count {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return cutOff(ctx, count)
		case <-tick.C:
		}
	}
}

// cutOff is the error of lines that ctx ended.
func cutOff(ctx context.Context, count int) error {
	if count == 0 {
		return nil
	}
	return ctx.Err()
}

func printPoint(out io.Writer, p *Point) error {
	r, st := p.Rates, &p.Stats.Store
	rate := func(f float64) string {
		switch {
		case r.Seconds == 0:
			return "-"
		case f > 0 && f < 10:
			return fmt.Sprintf("%.1f", f)
		}
		return fmt.Sprintf("%.0f", f)
	}
	operations, flush := "-", "-"
	if p.Stats.Operations != nil {
		operations = rate(r.Operations)
	}
	if r.FlushTime > 0 {
		flush = fmt.Sprintf("%.2f", 1e3*r.FlushTime)
	}
	pressure := st.BackPressure
	if pressure == "" {
		pressure = "-"
	}
	_, err := fmt.Fprintf(out, plainForm, operations, rate(r.Commits), rate(r.Conflicts), rate(r.Merges),
		rate(r.Aborts), rate(r.Waits), notDurable(st), rate(r.Flushes), flush, 100*st.Pressure, pressure)
	return err
}

// ending makes the end of a source a message.
func ending(err error, errOut io.Writer) error {
	if errors.Is(err, ErrEnded) {
		_, err = fmt.Fprintf(errOut, "varve: %v\n", err)
	}
	return err
}
