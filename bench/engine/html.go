package engine

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sample is the policy of the hot block at a moment of a run that changes phase.
type Sample struct {
	At        time.Duration
	Policy    string
	PerSecond float64
}

// WriteHTML writes one page that needs nothing else: the figures, and plots of them.
func WriteHTML(w io.Writer, figures []Figure, phases map[string][]Sample) error {
	var plots []template.HTML
	for _, make := range []func() (*plot.Plot, error){
		func() (*plot.Plot, error) { return byWriters(figures) },
		func() (*plot.Plot, error) { return latencies(figures) },
		func() (*plot.Plot, error) { return overTime(phases) },
	} {
		p, err := make()
		if err != nil {
			return err
		}
		svg, err := render(p)
		if err != nil {
			return err
		}
		plots = append(plots, svg)
	}
	return page.Execute(w, map[string]any{"Figures": figures, "Plots": plots})
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"pct":  func(f float64) string { return fmt.Sprintf("%.0f%%", 100*f) },
	"rate": func(f float64) string { return fmt.Sprintf("%.0f", f) },
}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>varve bench</title>
<style>
body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
td,th{padding:.2em .8em;text-align:right}
td:first-child,td:nth-child(2){text-align:left}
svg{max-width:100%;height:auto}
</style>
<h1>varve bench</h1>
{{range .Plots}}<p>{{.}}</p>{{end}}
<table><tr><th>load</th><th>store</th><th>commits/s</th><th>spread</th></tr>
{{range .Figures}}<tr><td>{{.Load}}</td><td>{{.Engine}}</td><td>{{rate .Median}}</td><td>{{pct .Spread}}</td></tr>
{{end}}</table></html>
`))

func render(p *plot.Plot) (template.HTML, error) {
	c := vgsvg.New(20*vg.Centimeter, 11*vg.Centimeter)
	p.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	_, svg, _ := strings.Cut(b.String(), "<svg") // without the XML declaration, which HTML does not have
	return template.HTML("<svg" + svg), nil      //nolint:gosec // our own drawing
}

// byWriters plots the throughput by the number of writers.
func byWriters(figures []Figure) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "throughput by writers", "writers", "commits/s"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min = 0
	var args []any
	for _, kind := range []string{"hot", "disjoint"} {
		var pts plotter.XYs
		for _, f := range figures {
			if f.Load == fmt.Sprintf("%s, %d writers", kind, f.Writers) {
				pts = append(pts, plotter.XY{X: float64(f.Writers), Y: f.Median})
			}
		}
		if len(pts) > 0 {
			args = append(args, kind, pts)
		}
	}
	if len(args) == 0 {
		p.X.Scale, p.X.Tick.Marker = plot.LinearScale{}, plot.DefaultTicks{}
	}
	return p, plotutil.AddLinePoints(p, args...)
}

// latencies plots the distribution of the commits' latencies on the hot block.
func latencies(figures []Figure) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = "latency of commits, 120 writers, one hot block"
	p.X.Label.Text, p.Y.Label.Text = "percentile", "microseconds"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	var args []any
	for _, f := range figures {
		if f.Load != Loads()[0].Name || !strings.HasPrefix(f.Engine, "varve") {
			continue
		}
		var pts plotter.XYs
		for q := 0.5; q < 100; q += 0.5 {
			pts = append(pts, plotter.XY{X: q, Y: max(float64(f.Runs[0].Latency.ValueAtQuantile(q))/1000, 0.01)})
		}
		args = append(args, f.Engine, pts)
	}
	if len(args) == 0 {
		p.Y.Scale, p.Y.Tick.Marker = plot.LinearScale{}, plot.DefaultTicks{}
	}
	return p, plotutil.AddLines(p, args...)
}

// overTime plots what each policy makes of a run that changes phase.
func overTime(phases map[string][]Sample) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "policies over a run that changes phase", "seconds", "commits/s"
	p.Y.Min = 0
	var args []any
	for _, name := range []string{"strict", "merge", "wait", "adaptive"} {
		var pts plotter.XYs
		for _, s := range phases[name] {
			pts = append(pts, plotter.XY{X: s.At.Seconds(), Y: s.PerSecond})
		}
		if len(pts) > 0 {
			args = append(args, name, pts)
		}
	}
	return p, plotutil.AddLines(p, args...)
}
