package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// table is what a part has to say.
type table struct {
	Head  []string
	Rows  [][]string
	Notes []string
}

func (t *table) row(cells ...string) { t.Rows = append(t.Rows, cells) }
func (t *table) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

func (t table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.Head)
	line(slices.Repeat([]string{"---"}, len(t.Head)))
	for _, r := range t.Rows {
		line(r)
	}
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return b.String()
}

// compare adds one row for each percentile: ours, the peer's, the ratio. A peer
// without values gets a dash.
func (t *table) compare(figure string, ours, peer []time.Duration, percentiles ...int) {
	for _, p := range percentiles {
		name := fmt.Sprintf("%s, p%d", figure, p)
		if p == 100 {
			name = figure + ", longest"
		}
		a, b := percentile(ours, p), percentile(peer, p)
		if b == 0 {
			t.row(name, ms(a), "–", "–")
			continue
		}
		t.row(name, ms(a), ms(b), fmt.Sprintf("%.2g", float64(a)/float64(b)))
	}
}

// percentile by nearest rank: a value that was measured, never one between two.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func ms(d time.Duration) string {
	switch v := float64(d) / float64(time.Millisecond); {
	case v < 10:
		return fmt.Sprintf("%.2f ms", v)
	case v < 100:
		return fmt.Sprintf("%.1f ms", v)
	default:
		return fmt.Sprintf("%.0f ms", v)
	}
}

func mb(bytes uint64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// load is the load average over one minute, which tells how much else ran.
func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
