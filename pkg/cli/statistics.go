package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// back is how far to look back: a span such as "30d", "36h" or "90m".
type back time.Duration

// UnmarshalText is called by kong.
func (b *back) UnmarshalText(text []byte) error {
	s := string(text)
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 || d > 10*365*24*time.Hour {
		return fmt.Errorf(`%q is not a span such as "30d" or "12h"`, s)
	}
	*b = back(d)
	return nil
}

type healStatisticsCmd struct {
	Since back `help:"How far to look back, such as 30d or 12h." default:"30d" placeholder:"SPAN"`
}

func (h *healStatisticsCmd) Run(ctx context.Context, c *commands, env *Env) error {
	var answer struct {
		Since      time.Time             `json:"since"`
		Statistics []api.FaultStatistics `json:"statistics"`
	}
	since := time.Now().Add(-time.Duration(h.Since)).UTC().Format(time.RFC3339)
	if err := env.Dashboard.GetJSON(ctx, "/api/self-healing/statistics?since="+url.QueryEscape(since), &answer); err != nil {
		return fmt.Errorf("the dashboard has no statistics (systemctl status arasul-dashboard arasul-postgres; root is needed): %w", err)
	}
	if c.JSON {
		return env.printJSON(answer)
	}
	printStatistics(env.Stdout, answer.Since, answer.Statistics)
	return nil
}

// printStatistics is a line per rule and fault; p50 is what half of the
// incidents stayed below, p95 what 95 of 100 did.
func printStatistics(w io.Writer, since time.Time, stats []api.FaultStatistics) {
	when := since.Local().Format(time.DateTime)
	if len(stats) == 0 {
		fmt.Fprintf(w, "no incidents since %s\n", when)
		return
	}
	fmt.Fprintf(w, "since %s\n\n", when)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RULE\tFAULT\tCOUNT\tRESOLVED\tNOTICED P50\tP95\tP99\tWELL P50\tP95\tP99")
	for _, s := range stats {
		well := []string{"-", "-", "-"}
		if s.Resolved > 0 {
			well = percentiles(s.Repair)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\n", s.Rule, s.Fault, s.Count, s.Resolved,
			strings.Join(percentiles(s.Detect), "\t"), strings.Join(well, "\t"))
	}
	_ = t.Flush()
}

func percentiles(p api.Percentile) []string {
	var out []string
	for _, seconds := range []float64{p.P50, p.P95, p.P99} {
		out = append(out, span(time.Duration(seconds*float64(time.Second))))
	}
	return out
}
