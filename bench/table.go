package main

import (
	"fmt"
	"slices"
)

// table collects rounds and prints medians as Markdown.
type table struct {
	title string
	rows  []string
	cells map[string]map[string][]usage
}

func (t *table) add(row, who string, u usage) {
	if t.cells == nil {
		t.cells = map[string]map[string][]usage{}
	}
	if t.cells[row] == nil {
		t.cells[row] = map[string][]usage{}
		t.rows = append(t.rows, row)
	}
	t.cells[row][who] = append(t.cells[row][who], u)
}

func (t *table) print() {
	fmt.Printf("## %s\n\n", t.title)
	fmt.Println("| | Prometheus, M/CPU s (rounds) | Atoll, M/CPU s (rounds) | ratio of medians (worst to best) | µs/sample | peak RSS, MiB |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, row := range t.rows {
		theirs, ours := t.cells[row]["prometheus"], t.cells[row]["atoll"]
		a, b := rates(theirs), rates(ours)
		fmt.Printf("| %s | %.3f (%s) | %.3f (%s) | **%.2f** (%.2f to %.2f) | %.2f → %.2f | %d → %d |\n", row,
			median(a), list(a), median(b), list(b),
			median(b)/median(a), slices.Min(b)/slices.Max(a), slices.Max(b)/slices.Min(a),
			1/median(a), 1/median(b), rss(theirs), rss(ours))
	}
	fmt.Println()
}

func rates(us []usage) (out []float64) {
	for _, u := range us {
		out = append(out, u.perSecond()/1e6)
	}
	return out
}

func rss(us []usage) (most int64) {
	for _, u := range us {
		most = max(most, u.PeakRSS>>20)
	}
	return most
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func list(x []float64) (s string) {
	for i, v := range x {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%.3f", v)
	}
	return s
}
