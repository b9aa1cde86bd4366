//go:build machine || box

package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	metricsUnit   = "arasul-metrics.service"
	dashboardUnit = "arasul-dashboard.service"
	postgresUnit  = "arasul-postgres.service"
	mdnsUnit      = "arasul-mdns.service"
	healerUnit    = "arasul-healer.service"
)

// kill sends a signal to a unit's main process and returns when.
func (b *bed) kill(unit, signal string) time.Time {
	b.t.Helper()
	at := time.Now()
	b.run("systemctl", "kill", "--kill-whom=main", "--signal="+signal, unit)
	return at
}

// set changes a key of the shipped configuration, until undo.
func (b *bed) set(key, value string) (undo func()) {
	b.t.Helper()
	const path = "/etc/arasul/arasul.toml"
	before := b.run("cat", path)
	b.run("sed", "-i", fmt.Sprintf("s|^#%s = .*|%s = %s|", key, key, value), path)
	if b.run("cat", path) == before {
		b.t.Fatalf("%s has no key %s to set", path, key)
	}
	return func() { b.put(path, []byte(before)) }
}

// mended checks that a fault was called by its name and what helped against it,
// that it is written down, and says the figures, from the moment of the injury.
func (b *bed) mended(i incident, fault, action string, injured time.Time) {
	b.t.Helper()
	if i.Fault != fault {
		b.t.Errorf("the fault is called %q, want %q: %v", i.Fault, fault, i)
	}
	if len(i.Actions) == 0 || i.Actions[len(i.Actions)-1].Kind != action || i.Actions[len(i.Actions)-1].Outcome != "helped" {
		b.t.Errorf("want %s to have helped: %v", action, i)
	}
	if i.RecoveredAt == nil || i.VerifiedAt == nil {
		b.t.Fatalf("times are missing: %+v", i)
	}
	b.t.Logf("figure: %s: %s noticed after %s, well after %s; %s", i.Unit, i.Detail,
		i.DetectedAt.Sub(injured).Round(10*time.Millisecond), i.RecoveredAt.Sub(injured).Round(10*time.Millisecond), i.tried())
	b.recorded(i)
}

// tried says what was done and what came of it, systemd's restarts in one word.
func (i incident) tried() string {
	var tried []string
	for _, a := range i.Actions {
		if n := len(tried); a.Kind == "systemd-restart" && n > 0 && strings.HasPrefix(tried[n-1], a.Kind) {
			tried = tried[:n-1]
		}
		tried = append(tried, a.Kind+" "+a.Outcome)
	}
	return strings.Join(tried, ", ")
}

// recorded wants PostgreSQL and the API to say of an incident that is over what
// the live stream said.
func (b *bed) recorded(i incident) {
	b.t.Helper()
	var row incident
	eventually(b.t, time.Minute, func() error {
		text := b.sql(fmt.Sprintf(`SELECT row_to_json(e) FROM (SELECT *, (SELECT json_agg(a ORDER BY attempt)
			FROM recovery_actions a WHERE incident = id) AS actions FROM self_healing_events WHERE id = '%s') AS e`, i.ID))
		if text == "" {
			return errors.New("no row in PostgreSQL")
		}
		row = incident{}
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			return err
		}
		if row.State != i.State {
			return fmt.Errorf("the row is %v", row)
		}
		return nil
	})
	if row.RecoveredAt == nil || row.VerifiedAt == nil {
		b.t.Fatalf("times are missing in PostgreSQL: %+v", row)
	}
	if row.String() != i.String() || row.FaultAt.Sub(i.FaultAt).Abs() > time.Microsecond ||
		row.RecoveredAt.Sub(*i.RecoveredAt).Abs() > time.Microsecond || row.VerifiedAt.Sub(*i.VerifiedAt).Abs() > time.Microsecond {
		b.t.Errorf("PostgreSQL has\n%v, the page has\n%v", row, i)
	}
	if n := b.sql("SELECT count(*) FROM service_failures WHERE incident = '" + i.ID + "'"); i.Rule == "down" && n != fmt.Sprint(i.Count) {
		b.t.Errorf("PostgreSQL has %s failures of %d", n, i.Count)
	}
	list, err := b.incidents()
	if err != nil {
		b.t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(o incident) bool { return o.ID == i.ID && o.String() == i.String() }) {
		b.t.Errorf("the API does not have %v", i)
	}
}

// by accepts an incident of a rule that began after this moment.
func by(rule string, since time.Time, states ...string) func(incident) bool {
	return func(i incident) bool {
		return i.Rule == rule && !i.DetectedAt.Before(since) && (len(states) == 0 || slices.Contains(states, i.State))
	}
}

// touched are the actions of the healer's own in an incident: systemd's restart
// of a unit is not one of them.
func (i incident) touched() (kinds []string) {
	for _, a := range i.Actions {
		if a.Kind != "systemd-restart" && a.Outcome != "refused" {
			kinds = append(kinds, a.Kind)
		}
	}
	return kinds
}
