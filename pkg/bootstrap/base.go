package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Units are systemd's.
type Units interface {
	// All are those of ours that are loaded.
	All(ctx context.Context) ([]api.Unit, error)
	Start(ctx context.Context, unit string) error // and see it active
	Run(ctx context.Context, unit string) error   // a oneshot, to its end
}

// Folders are those that the package makes.
type Folders interface {
	Wrong() (problems []string, err error) // missing, of another owner, not to be written to
	Make(ctx context.Context) error
}

// Secrets are the keys in /var/lib/arasul/secrets.
type Secrets interface {
	Missing() ([]string, error)
	Generate() (did []string, err error)
}

// Door asks a daemon of ours over its socket.
type Door interface {
	Call(ctx context.Context, method, path string, in, out any) error
}

// Base is what everything else stands on.
type Base struct {
	Folders   Folders
	Secrets   Secrets
	Units     Units
	Dashboard Door
	Foreign   bool  // the database is another server's
	Schema    int64 // number of the newest migration
}

const (
	unitPostgres = "arasul-postgres.service"
	unitDatabase = "arasul-db.service"
)

// daemons have to run on every machine, in the order of their start.
var daemons = []string{
	"arasul-metrics.service", "arasul-proxy.service", "arasul-dashboard.service", "arasul-mdns.service", "arasul-logs.service", "arasul-healer.service",
}

// Steps look after folders, keys, database and daemons.
func (b Base) Steps() []Step {
	return []Step{
		{ID: "directories", Title: "Directories", Needs: []string{"system"}, Check: b.folders, Fix: func(ctx context.Context, _ Progress) error { return b.Folders.Make(ctx) }},
		{ID: "secrets", Title: "Keys", Needs: []string{"directories"}, Check: b.secrets, Fix: func(context.Context, Progress) error {
			_, err := b.Secrets.Generate()
			return err
		}},
		{ID: "database", Title: "Database", Needs: []string{"directories"}, Check: b.database, Fix: b.startDatabase},
		{ID: "daemons", Title: "Daemons", Needs: []string{"directories", "secrets"}, Check: b.daemons, Fix: b.startDaemons},
	}
}

func (b Base) folders(context.Context) Finding {
	wrong, err := b.Folders.Wrong()
	switch {
	case err != nil:
		return Failed(err, "ls -l /var/lib/arasul")
	case len(wrong) > 0:
		return Bad(strings.Join(wrong, "; "), "systemd-tmpfiles --create arasul.conf; where that fails, the disk may be broken: journalctl -k -p err")
	}
	return OK("as they should be")
}

func (b Base) secrets(context.Context) Finding {
	missing, err := b.Secrets.Missing()
	switch {
	case err != nil:
		return Failed(err, "ls -l /var/lib/arasul/secrets")
	case len(missing) > 0:
		return Bad("missing or broken: "+strings.Join(missing, ", "), "systemctl restart arasul-secrets.service, which makes what is missing")
	}
	return OK("all there")
}

func (b Base) database(ctx context.Context) Finding {
	if !b.Foreign {
		if f := b.unit(ctx, unitPostgres); f.Outcome != Well {
			f.Suggestion = "journalctl -u arasul-postgres -n 50 says why; systemctl restart arasul-postgres"
			return f
		}
	}
	units, err := b.Units.All(ctx)
	if err != nil {
		return Failed(err, "systemctl status")
	}
	if i := slices.IndexFunc(units, func(u api.Unit) bool { return u.Name == unitDatabase }); i >= 0 && units[i].ActiveState == "failed" {
		return Bad("the schema could not be brought up to date", "journalctl -u arasul-db -n 50 says why; then systemctl restart arasul-db")
	}
	if b.Foreign {
		return OK("another server's, by [database] dsn")
	}
	return OK("PostgreSQL runs, the schema was migrated")
}

func (b Base) startDatabase(ctx context.Context, _ Progress) error {
	if !b.Foreign {
		if err := b.Units.Start(ctx, unitPostgres); err != nil {
			return Advise(fmt.Errorf("starting %s: %w", unitPostgres, err), "journalctl -u arasul-postgres -n 50 says why")
		}
	}
	if err := b.Units.Run(ctx, unitDatabase); err != nil {
		return Advise(fmt.Errorf("migrating the schema: %w", err), "journalctl -u arasul-db -n 50 says why")
	}
	return nil
}

// unit says whether a unit runs.
func (b Base) unit(ctx context.Context, name string) Finding { return running(ctx, b.Units, name) }

func running(ctx context.Context, units Units, name string) Finding {
	all, err := units.All(ctx)
	if err != nil {
		return Failed(err, "systemctl status "+name)
	}
	why := "systemctl start " + name + "; journalctl -u " + name + " -n 50 says why it does not run"
	i := slices.IndexFunc(all, func(u api.Unit) bool { return u.Name == name })
	switch {
	case i < 0 || all[i].LoadState != "loaded":
		return Bad(name+" is not installed", "apt install --reinstall arasul")
	case all[i].ActiveState == "active" || all[i].ActiveState == "reloading":
		return OK("%s runs", name)
	case all[i].ActiveState == "activating":
		return Bad(name+" is starting", why)
	}
	return Bad(name+" does not run ("+all[i].ActiveState+")", why)
}

func (b Base) daemons(ctx context.Context) Finding {
	all, err := b.Units.All(ctx)
	if err != nil {
		return Failed(err, "systemctl status arasul.target")
	}
	var down []string
	for _, name := range daemons {
		if !slices.ContainsFunc(all, func(u api.Unit) bool { return u.Name == name && u.ActiveState == "active" }) {
			down = append(down, name)
		}
	}
	if len(down) > 0 {
		return Bad("not running: "+strings.Join(down, ", "), "systemctl start arasul.target; journalctl -u "+down[0]+" -n 50 says why it does not run")
	}
	return OK("all %d run", len(daemons))
}

func (b Base) startDaemons(ctx context.Context, _ Progress) error {
	var errs []error
	for _, name := range daemons {
		if running(ctx, b.Units, name).Outcome == Well {
			continue
		}
		if err := b.Units.Start(ctx, name); err != nil {
			errs = append(errs, Advise(err, "journalctl -u "+name+" -n 50 says why"))
		}
	}
	return errors.Join(errs...)
}

// SmokeSteps prove that the base does its work (spec BOOT-8): schema, page,
// healer.
func (b Base) SmokeSteps(page func(context.Context) error, healer func(context.Context) (api.HealerStatus, error)) []Step {
	return []Step{
		{ID: "smoke-schema", Title: "Test: database schema", Needs: []string{"database", "daemons"}, Check: b.schema},
		{ID: "smoke-page", Title: "Test: page", Needs: []string{"daemons", "ports"}, Check: func(ctx context.Context) Finding { return loads(ctx, page) }},
		{ID: "smoke-healer", Title: "Test: healer", Needs: []string{"daemons"}, Check: func(ctx context.Context) Finding { return heals(ctx, healer) }},
	}
}

func (b Base) schema(ctx context.Context) Finding {
	var h api.DatabaseHealth
	if err := b.Dashboard.Call(ctx, "GET", "/api/database/health", nil, &h); err != nil {
		return Failed(err, "systemctl status arasul-postgres arasul-db")
	}
	switch {
	case h.MigrationVersion < b.Schema:
		return Bad(fmt.Sprintf("the schema is at %d of %d", h.MigrationVersion, b.Schema), "systemctl restart arasul-db; journalctl -u arasul-db -n 50")
	case h.Status != api.Up:
		return Warning(h.Reason, "systemctl status arasul-postgres")
	}
	return OK("PostgreSQL %s, schema %d, answers in %s", h.Version, h.MigrationVersion, round(h.Latency))
}

const pageWithin = 1500 * time.Millisecond // spec BOOT-8

func loads(ctx context.Context, page func(context.Context) error) Finding {
	began := time.Now()
	err := page(ctx)
	took := time.Since(began)
	switch {
	case err != nil:
		return Failed(err, "systemctl status arasul-proxy arasul-dashboard; journalctl -u arasul-proxy -n 50")
	case took > pageWithin:
		return Warning(fmt.Sprintf("it loads in %s; %s is the goal", round(took.Seconds()), pageWithin), "arasul status says what keeps the machine busy.")
	}
	return OK("loads in %s", round(took.Seconds()))
}

// heartbeat is how old the healer's last check may be: three of its loops.
const heartbeat = 30 * time.Second

func heals(ctx context.Context, healer func(context.Context) (api.HealerStatus, error)) Finding {
	s, err := healer(ctx)
	if err != nil {
		return Failed(err, "systemctl restart arasul-healer; journalctl -u arasul-healer -n 50")
	}
	age := s.Timestamp.Sub(s.LastCheck)
	switch {
	case s.LastCheck.IsZero() || age > heartbeat:
		return Bad("its last check is too long ago", "systemctl restart arasul-healer; journalctl -u arasul-healer -n 50")
	case s.Maintenance:
		return Warning("it answers, and repairs nothing: maintenance is on", "arasul heal maintenance off")
	case s.BreakerOpen != nil:
		return Warning("it answers, and has stopped itself because it did too much", "arasul heal status says what; then arasul heal reset-breaker")
	}
	return OK("its last check was %s ago", round(max(age, 0).Seconds()))
}

// round writes seconds the way a person wants to know them.
func round(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
