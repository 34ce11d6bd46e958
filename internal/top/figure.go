package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// none stands for a figure that there is not.
const none = "-"

// figure is a number in at most six characters.
func figure(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 0.05:
		return "<0.1"
	case f < 9.95:
		return fmt.Sprintf("%.1f", f)
	case f < 99_999.5:
		return fmt.Sprintf("%.0f", f)
	case f < 9_999_500:
		return fmt.Sprintf("%.0fk", f/1e3)
	case f < 9_999_500_000:
		return fmt.Sprintf("%.0fM", f/1e6)
	}
	return fmt.Sprintf("%.2g", f)
}

// whole is a whole number in at most six characters.
func whole(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.0f", f)
	}
	return figure(f)
}

// bytesFigure is a number of bytes.
func bytesFigure(f float64) string {
	unit := 0
	for units := "BKMGT"; f >= 1000 && unit < len(units)-1; unit++ {
		f /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%.0f B", f)
	}
	return fmt.Sprintf("%.1f %ciB", f, "BKMGT"[unit])
}

// timeFigure is a time in seconds, to three digits.
func timeFigure(seconds float64) string {
	if seconds <= 0 {
		return none
	}
	d := time.Duration(seconds * 1e9)
	step := time.Duration(1)
	for d/step >= 1000 {
		step *= 10
	}
	return d.Round(step).String()
}

// share is a part of a whole in percent.
func share(part, whole float64) string {
	if whole <= 0 {
		return none
	}
	return fmt.Sprintf("%.0f %%", 100*part/whole)
}

// notDurable is how many commits would be lost in a power cut. The two counters are not read at one instant.
func notDurable(s *mvcc.Stats) uint64 {
	if s.Durable > s.Published {
		return 0
	}
	return s.Published - s.Durable
}

// bars are the heights of a sparkline.
var bars = []rune("▁▂▃▄▅▆▇█")

// spark draws the last values in a width, the newest at the right, and the highest as high as it goes. A negative value
// is none.
func spark(values []float64, width int) string {
	values = values[max(0, len(values)-max(width, 0)):]
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", max(0, width-len(values))))
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case v == 0:
			b.WriteRune(bars[0])
		default:
			b.WriteRune(bars[min(len(bars)-1, 1+int(v/most*float64(len(bars)-2)))])
		}
	}
	return b.String()
}

// bar draws a share of a whole.
func bar(part float64, width int) string {
	full := int(min(max(part, 0), 1)*float64(width) + 0.5)
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", width-full) + "]"
}
