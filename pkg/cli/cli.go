// Package cli is the command line: it parses what was typed, asks, and prints
// for a person or, with --json, for a program.
//
// It reaches nothing by itself: the wiring gives it what it asks. Exit codes
// are 0 for yes and done, 1 for no and failed, 2 for a command that cannot be
// understood, 78 for a bad configuration.
package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/heal"
	"github.com/arasul/arasul/pkg/version"
)

// Dashboard answers what the HTTP API answers.
type Dashboard interface {
	GetJSON(ctx context.Context, path string, answer any) error
}

// Healer is the healer, over D-Bus.
type Healer interface {
	Status(ctx context.Context) (api.HealerStatus, error)
	Incidents(ctx context.Context, limit int) ([]api.Incident, error)
	Explain(ctx context.Context, incident string) (string, error)
	SetMaintenance(ctx context.Context, on bool) error
	ResetBreaker(ctx context.Context) error
	Restart(ctx context.Context, unit, actor string) (incident string, err error)
}

// Database are the steps that units run to bring the database up and to keep it
// small.
type Database interface {
	Init() error
	Exec() error
	Provision(cfg *config.Config) error
	// Vacuum gives room back; freeSpace: days of samples too, while the disk is
	// full.
	Vacuum(ctx context.Context, cfg *config.Config, freeSpace bool) (api.Vacuum, error)
	// Copy asks whether there is room for a copy of the database, copies it to a name,
	// puts that copy in its place, or drops it: verb is room, snapshot, restore or drop.
	// Older copies go with snapshot, but for those to keep.
	Copy(ctx context.Context, cfg *config.Config, verb, name string, workflows bool, keep []string) error
}

// Env is the world as a command sees it.
type Env struct {
	Stdin          *os.File // a terminal, or what was put in its place
	Stdout, Stderr io.Writer
	Dashboard      Dashboard
	Console        Console
	Issue          Issue
	Machine        Machine
	Secrets        Secrets
	Healer         Healer
	Database       Database
	Disk           Disk
	Certs          Certs
	Images         Images
	Containers     Containers
	Models         Models
	Workflows      Workflows
	Objects        Objects
	Bootstrap      Bootstrap
	Setup          Setup
	Support        Support
	Load           Load
	Updater        Updater
}

// commands is the whole command line, as kong reads it.
type commands struct {
	JSON    bool             `help:"Print JSON, for programs." name:"json"`
	Config  string           `help:"Configuration file." type:"path" default:"${config}" placeholder:"FILE"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Status        statusCmd        `cmd:"" help:"Say whether all is well. Exits with 1 when the state is CRITICAL."`
	Setup         setupCmd         `cmd:"" help:"Answer what only the owner can: name, models, licence. Needs root."`
	Bootstrap     bootstrapCmd     `cmd:"" help:"Take this machine step by step to where it is ready. Needs root."`
	Doctor        doctorCmd        `cmd:"" help:"Say what is wrong with this machine, and change nothing. Needs root."`
	SupportBundle supportBundleCmd `cmd:"" help:"Pack what somebody who helps has to see, without secrets. Needs root."`
	Restart       restartCmd       `cmd:"" help:"Have the healer restart a service, and see it come up again."`
	Heal          struct {
		Status       healStatusCmd       `cmd:"" help:"Say how the healer does and what it repaired last."`
		Statistics   healStatisticsCmd   `cmd:"" help:"Say how fast faults were noticed and repaired."`
		Explain      healExplainCmd      `cmd:"" help:"Say why an incident is what it is, and what comes next."`
		Maintenance  healMaintenanceCmd  `cmd:"" help:"Keep the healer's hands off while you work on the machine, or put them back on."`
		ResetBreaker healResetBreakerCmd `cmd:"" help:"Let the healer act again after it stopped itself because it did too much."`
		Simulate     healSimulateCmd     `cmd:"" help:"Play a story to the policy and say what would be done. Exits with 1 when that is not what the story expects."`
		Replay       healReplayCmd       `cmd:"" help:"Run what happened through another policy and say what it would have done."`
	} `cmd:"" help:"Ask and steer self-healing."`
	Conf struct {
		Check configCheckCmd `cmd:"" help:"Check the configuration file. Exits with 78 when it is refused."`
		Show  configShowCmd  `cmd:"" help:"Print the configuration in force, defaults included, and where each value comes from."`
	} `cmd:"" name:"config" help:"Check and show the configuration."`
	User userCmd `cmd:"" help:"Let the admin in again, from the machine itself. Needs root."`
	Disk struct {
		Clean   diskCleanCmd   `cmd:"" help:"Remove caches, old logs and, in the end, old samples until the disk is less than 85 % full. Exits with 1 when that failed."`
		Reserve diskReserveCmd `cmd:"" hidden:"" help:"Set a reserve aside for the day when the disk is full, if there is room."`
	} `cmd:"" help:"Make room on the disk."`
	Certs struct {
		Show   certsShowCmd  `cmd:"" help:"Say which certificate a visitor gets, and how long it is good."`
		CA     certsCACmd    `cmd:"" name:"ca" help:"Print the certificate that devices have to trust, and how they are told to."`
		Renew  certsRenewCmd `cmd:"" help:"Make the machine's own certificate anew, now."`
		Issue  certsIssueCmd `cmd:"" help:"Make what is missing or due. arasul-certs.service does so by itself."`
		Wanted certsACMECmd  `cmd:"" hidden:"" help:"Exits with 1 when no certificate of a public authority is configured."`
	} `cmd:"" help:"Show and renew the certificates."`
	Images struct {
		List imagesListCmd `cmd:"" help:"Say which container images this machine runs, and which it lacks."`
		Pull imagesPullCmd `cmd:"" help:"Fetch images from their registries. Needs the internet, and root."`
		Load imagesLoadCmd `cmd:"" help:"Take an image from a file. Needs root, and no internet."`
	} `cmd:"" help:"Show and bring the container images of the applications."`
	Models struct {
		List   modelsListCmd   `cmd:"" help:"Say which models there are."`
		Pull   modelsPullCmd   `cmd:"" help:"Fetch a model from its registry. Needs the internet, and root."`
		Load   modelsLoadCmd   `cmd:"" help:"Bring models from a folder. Needs root, and no internet."`
		Verify modelsVerifyCmd `cmd:"" help:"Read all models and compare them with their digests. Needs root. Exits with 1 when one is damaged."`
		Remove modelsRemoveCmd `cmd:"" help:"Remove a model from the disk. Needs root."`
	} `cmd:"" help:"Show and bring models."`
	Workflows struct {
		Provision workflowsProvisionCmd `cmd:"" help:"Bring n8n its owner, credentials, nodes and templates. arasul-n8n-provision.service does so by itself."`
	} `cmd:"" help:"Prepare n8n."`
	Objects struct {
		List      objectsListCmd      `cmd:"" help:"Say which buckets there are. Needs root."`
		Check     objectsCheckCmd     `cmd:"" help:"Write a test object, read it back and compare. Needs root."`
		Provision objectsProvisionCmd `cmd:"" help:"Make the buckets and accounts that are missing. arasul-buckets.service does so by itself."`
	} `cmd:"" help:"Prepare and check the object store."`
	Update struct {
		Status   updateStatusCmd   `cmd:"" help:"Say which release is installed, and what is being done."`
		Inspect  updateInspectCmd  `cmd:"" help:"Say what a file of a release is, and whether it can be installed here."`
		Stage    updateStageCmd    `cmd:"" help:"Receive a release, and install nothing."`
		Apply    updateApplyCmd    `cmd:"" help:"Install a release, from a file or the one that was received, and follow it to its end."`
		Watch    updateWatchCmd    `cmd:"" help:"Follow an update that is under way."`
		History  updateHistoryCmd  `cmd:"" help:"List the updates of this machine."`
		Cancel   updateCancelCmd   `cmd:"" help:"Turn an update back that has not stopped anything yet, or forget what was received."`
		Rollback updateRollbackCmd `cmd:"" help:"Bring the release before back. What was stored since stays."`
	} `cmd:"" help:"Install releases, and go back. Needs root."`
	Loadtest  loadtestCmd `cmd:"" help:"Ask the applications for much at once, and measure. Needs root."`
	Container struct {
		Ready containerReadyCmd `cmd:"" help:"Exits with 1 when the image of an application is missing."`
		Run   containerRunCmd   `cmd:"" help:"Become podman, and run an application."`
	} `cmd:"" hidden:"" help:"Steps of the applications' units."`
	DB struct {
		Init      dbInitCmd      `cmd:"" help:"Create and configure the data directory."`
		Exec      dbExecCmd      `cmd:"" help:"Become the database server."`
		Provision dbProvisionCmd `cmd:"" help:"Create roles and database, migrate the schema."`
		Vacuum    dbVacuumCmd    `cmd:"" help:"Give back what deleted rows have left."`
		Copy      dbCopyCmd      `cmd:"" help:"Copy the database, put a copy in its place, or remove one."`
	} `cmd:"" name:"db" hidden:"" help:"Steps of arasul-postgres.service, arasul-db.service, arasul-vacuum.service and updates."`
	Secrets struct {
		Generate secretsGenerateCmd `cmd:"" help:"Make the keys that are missing."`
	} `cmd:"" hidden:"" help:"The step of arasul-secrets.service."`
}

// Run carries out the command in args and returns the exit code.
func Run(ctx context.Context, env Env, args []string) int {
	code, err := command.Program{
		Name: "arasul", Description: "The local AI appliance: see how it does, and steer it.", Stdout: env.Stdout, Stderr: env.Stderr,
		Vars: kong.Vars{"version": version.Version, "config": config.Path},
	}.Run(ctx, &commands{}, args, &env)
	if err != nil {
		fmt.Fprintf(env.Stderr, "arasul: %v\n", err)
	}
	return code
}

func (e *Env) printJSON(v any) error { return command.PrintJSON(e.Stdout, v) }

type statusCmd struct {
	Watch bool `help:"Say it again every 2 s until interrupted." short:"w"`
}

func (s *statusCmd) Run(ctx context.Context, c *commands, env *Env) error {
	for {
		status, err := s.once(ctx, c, env)
		if !s.Watch {
			if err == nil && status == api.Critical {
				return command.Exit(1)
			}
			return err
		}
		if err != nil {
			fmt.Fprintf(env.Stderr, "%s  out of reach: %v\n", time.Now().Format(time.TimeOnly), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

func (s *statusCmd) once(ctx context.Context, c *commands, env *Env) (api.Overall, error) {
	var status api.SystemStatus
	if err := env.Dashboard.GetJSON(ctx, "/api/system/status", &status); err != nil {
		return "", fmt.Errorf("the dashboard does not answer (systemctl status arasul-dashboard; root is needed): %w", err)
	}
	var list struct {
		Services []api.Service `json:"services"`
	}
	if err := env.Dashboard.GetJSON(ctx, "/api/services", &list); err != nil {
		return "", err
	}
	if c.JSON {
		return status.Status, env.printJSON(map[string]any{"status": status, "services": list.Services})
	}
	printStatus(env.Stdout, status, list.Services)
	return status.Status, nil
}

// maxIncidents is how many the healer remembers at least while it is busy.
const maxIncidents = 400

type healStatusCmd struct {
	Limit int `help:"How many incidents to list, 1 to 400." default:"10"`
}

func (h *healStatusCmd) Run(ctx context.Context, c *commands, env *Env) error {
	status, err := env.Healer.Status(ctx)
	if err != nil {
		return err
	}
	incidents, err := env.Healer.Incidents(ctx, maxIncidents)
	if err != nil {
		return err
	}
	// What still needs something comes first, then the newest.
	slices.SortStableFunc(incidents, func(a, b api.Incident) int {
		return cmp.Compare(closed(a), closed(b))
	})
	incidents = incidents[:min(h.Limit, len(incidents))]
	if c.JSON {
		return env.printJSON(map[string]any{"status": status, "incidents": incidents})
	}
	printHealer(env.Stdout, status, incidents)
	return nil
}

// Validate is called by kong.
func (h *healStatusCmd) Validate() error {
	if h.Limit < 1 || h.Limit > maxIncidents {
		return fmt.Errorf("--limit is 1 to %d", maxIncidents)
	}
	return nil
}

// closed is 0 for an incident that is open, 1 for one that is over.
func closed(i api.Incident) int {
	if i.ClosedAt == nil {
		return 0
	}
	return 1
}

type healMaintenanceCmd struct {
	State string `arg:"" enum:"on,off" help:"on: watch and record, but touch nothing; off: repair again."`
}

func (h *healMaintenanceCmd) Run(ctx context.Context, env *Env) error {
	err := env.Healer.SetMaintenance(ctx, h.State == "on")
	env.note(ctx, "heal.maintenance", h.State, err)
	if err != nil {
		return fmt.Errorf("%w (root is needed)", err)
	}
	if h.State == "on" {
		fmt.Fprintln(env.Stdout, "Maintenance is on: nothing will be repaired until: arasul heal maintenance off")
	} else {
		fmt.Fprintln(env.Stdout, "Maintenance is off: the healer repairs again.")
	}
	return nil
}

type configCheckCmd struct{}

func (configCheckCmd) Run(c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err == nil {
		_, err = heal.LoadPolicy(cfg.Healer.Policy)
	}
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		return command.Exit(78)
	}
	if _, err := os.Stat(c.Config); err != nil {
		fmt.Fprintf(env.Stdout, "%s does not exist: the defaults are in force, and what arasul setup has set\n", c.Config)
		return nil
	}
	fmt.Fprintf(env.Stdout, "%s is valid\n", c.Config)
	return nil
}

type configShowCmd struct{}

func (configShowCmd) Run(c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		return command.Exit(78)
	}
	text, err := cfg.Redacted().TOML()
	if err != nil {
		return err
	}
	settings := ""
	if c.Config == config.Path {
		settings = config.Settings
	}
	if !c.JSON {
		text = config.Annotated(text, config.Origins(settings, c.Config))
	}
	if c.JSON { // with the keys and values of the file
		var keys map[string]any
		if err := toml.Unmarshal(text, &keys); err != nil {
			return err
		}
		return env.printJSON(keys)
	}
	_, err = env.Stdout.Write(text)
	return err
}

type dbInitCmd struct{}

func (dbInitCmd) Run(env *Env) error { return env.Database.Init() }

type dbExecCmd struct{}

func (dbExecCmd) Run(env *Env) error { return env.Database.Exec() }

type dbProvisionCmd struct{}

func (dbProvisionCmd) Run(c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		if config.Concerns(err, "database") {
			return command.Exit(78)
		}
	}
	return env.Database.Provision(cfg)
}
