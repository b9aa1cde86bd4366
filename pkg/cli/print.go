package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// printStatus says how the appliance does, the most important first.
func printStatus(w io.Writer, s api.SystemStatus, services []api.Service) {
	fmt.Fprintf(w, "%s  %s, version %s", s.Status, s.Hostname, s.Version)
	if s.UptimeS > 0 { // known since the first sample
		fmt.Fprintf(w, ", up %s", span(time.Duration(s.UptimeS*float64(time.Second))))
	}
	fmt.Fprintln(w)
	for _, r := range s.Reasons {
		fmt.Fprintf(w, "  %s: %s\n", strings.ToLower(string(r.Severity)), r.Message)
	}
	if s.Healing {
		fmt.Fprintln(w, "  a repair is under way")
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, svc := range services {
		since := ""
		if svc.Since != nil {
			since = "for " + span(s.Timestamp.Sub(*svc.Since))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", svc.Name, svc.Status, since, svc.Reason)
	}
	_ = t.Flush()
}

// printHealer says what the healer is at and what it did.
func printHealer(w io.Writer, s api.HealerStatus, incidents []api.Incident) {
	checked := "no check yet"
	if !s.LastCheck.IsZero() {
		checked = "last check " + span(s.Timestamp.Sub(s.LastCheck)) + " ago"
	}
	fmt.Fprintf(w, "mode %s, %s, %d open\n", s.Mode, checked, s.Open)
	if s.Maintenance {
		fmt.Fprintln(w, "maintenance is on: nothing will be repaired")
	}
	if !s.Mirrored {
		fmt.Fprintln(w, "some events still wait for the database")
	}
	if len(incidents) == 0 {
		fmt.Fprintln(w, "no incidents")
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHEN\tUNIT\tFAULT\tNOTICED\tBACK AFTER\tSTATE\tACTIONS")
	for _, i := range incidents {
		back := "-"
		if i.RecoveredAt != nil {
			back = span(i.RecoveredAt.Sub(i.FaultAt))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.FaultAt.Local().Format(time.DateTime), i.Unit, i.Fault,
			span(i.DetectedAt.Sub(i.FaultAt)), back, i.State, actions(i.Actions))
	}
	_ = t.Flush()
}

// actions names what was tried, in order, equal neighbours once.
func actions(list []api.Action) string {
	var out []string
	for n, a := range list {
		if n == 0 || list[n-1].Kind != a.Kind {
			out = append(out, a.Kind)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// span rounds a duration to what a person wants to know.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
}
