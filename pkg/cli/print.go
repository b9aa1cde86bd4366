package cli

import (
	"cmp"
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
	if s.Lease != nil {
		fmt.Fprintf(w, "the %s has asked for hands off for another %s\n", s.Lease.Holder, span(s.Lease.Until.Sub(s.Timestamp)))
	}
	if s.BreakerOpen != nil {
		fmt.Fprintf(w, "too much was done in too short a time: nothing more is done for another %s\n", span(s.BreakerOpen.Sub(s.Timestamp)))
	}
	if !s.Mirrored {
		fmt.Fprintln(w, "some events still wait for the database")
	}
	if s.LostEvents > 0 {
		fmt.Fprintf(w, "%d events will never reach the database: there was no room for them\n", s.LostEvents)
	}
	if len(incidents) == 0 {
		fmt.Fprintln(w, "no incidents")
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NO\tWHEN\tRULE\tUNIT\tFAULT\tNOTICED\tWELL AFTER\tSTATE\tACTIONS")
	for _, i := range incidents {
		back := "-"
		if i.RecoveredAt != nil {
			back = span(i.RecoveredAt.Sub(i.FaultAt))
		}
		state := string(i.State)
		if i.Cause != "" {
			state += " by " + i.Cause
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", number(i), i.FaultAt.Local().Format(time.DateTime), i.Rule, cmp.Or(i.Unit, "the machine"), i.Fault,
			span(i.DetectedAt.Sub(i.FaultAt)), back, state, actions(i))
	}
	_ = t.Flush()
}

// actions names what was tried, in order, equal neighbours once, and to what
// unless that is the unit of the incident.
func actions(i api.Incident) string {
	var out []string
	for _, a := range i.Actions {
		act := a.Kind
		if a.Unit != "" && a.Unit != i.Unit {
			act += " " + a.Unit
		}
		if len(out) == 0 || out[len(out)-1] != act {
			out = append(out, act)
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

// number is the last part of an incident's id, which no other incident has.
func number(i api.Incident) string {
	_, n, _ := strings.Cut(i.ID, "-")
	return n
}
