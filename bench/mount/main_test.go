package main

import "testing"

func TestResult_MedianAndCutOff(t *testing.T) {
	for want, r := range map[string]*result{
		"-":          nil,
		"3":          {figures: []float64{9, 1, 3}},
		"0.3333":     {figures: []float64{1.0 / 3}},
		"over 90.08": {figures: []float64{90.08}, late: true},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

func TestRatio_Directions(t *testing.T) {
	figures := func(f float64) *result { return &result{figures: []float64{f}} }
	b := &bench{results: map[string]map[string]*result{
		"find": {"varve": figures(2), "kernel": figures(4)},
		"read": {"varve": figures(2), "kernel": figures(4), "none": figures(0)},
	}}
	for _, c := range []struct {
		w     work
		other string
		want  string
	}{
		{work{name: "find", lowerIsBetter: true}, "kernel", "2.00 times the speed"},
		{work{name: "read"}, "kernel", "0.50 times the speed"},
		{work{name: "read"}, "none", "-"},
		{work{name: "read"}, "absent", "-"},
	} {
		if got := b.ratio(c.w, "varve", c.other); got != c.want {
			t.Errorf("%s of %s: %q instead of %q", c.w.name, c.other, got, c.want)
		}
	}
}

// TestWorks_Complete checks the plan: each row has a name of its own, a unit and a way to measure it.
func TestWorks_Complete(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range works {
		if w.name == "" || w.unit == "" || seen[w.name] || (w.run == nil) == !w.mounting {
			t.Errorf("%+v is not complete, or is there twice", w.name)
		}
		seen[w.name] = true
		if lower := w.unit == "s" || w.unit == "ms" || w.unit == "MiB"; lower != w.lowerIsBetter {
			t.Errorf("%s in %s: lower is better: %v", w.name, w.unit, w.lowerIsBetter)
		}
	}
}
