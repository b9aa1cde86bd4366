package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/heal"
)

var update = flag.Bool("update", false, "write the outputs in testdata/*.txt anew")

// TestMain puts all tests into one time zone, before anything can ask for it.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// TestScripts types what testdata/*.txt says, and wants what stands below it:
//
//	# a comment
//	@dashboard critical     the dashboard answers testdata/dashboard/critical
//	@healer busy            the healer answers testdata/healer/busy
//	@recording              the healer's recording of a unit that failed
//	@certs fresh            the signer and its certificates are as in testdata/certs/fresh
//	@disk full              a clean-up comes to testdata/disk/full.json
//	@console new            the dashboard answers the console testdata/console/new
//	@owner                  nothing was set up
//	@updater new            the updater answers testdata/updater/new
//	@bootstrap half         bootstrap and doctor come to testdata/bootstrap/half
//	@stdin one line\n       what standard input is
//	$ arasul status         what is typed, and indented its output,
//		CRITICAL  box …
//		2> a line of standard error
//		[1]                 the exit code, unless it is 0
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %q, %v", scripts, err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (-want +got), -update accepts it:\n%s", path, diff)
			}
		})
	}
}

// play carries out a script and returns it with the outputs that came.
func play(t *testing.T, script string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	run := t.TempDir()
	policy, err := heal.LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	paths := strings.NewReplacer(here+"/", "", run, "/run/arasul", policy.Hash, "0123456789ab")
	env := Env{Database: database{}, Issue: &screen{}, Secrets: made{}}
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "\t") {
			continue // what came out another time
		}
		out.WriteString(line)
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "@dashboard":
			env.Dashboard = newDashboard(t, filepath.Join(run, rest+".sock"), filepath.Join("testdata/dashboard", rest))
		case "@healer":
			env.Healer = &healer{dir: filepath.Join("testdata/healer", rest)}
		case "@console":
			env.Console = newConsole(t, filepath.Join(run, "c"+rest), filepath.Join("testdata/console", rest))
		case "@stdin":
			env.Stdin = given(t, strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(rest))
		case "@disk":
			env.Disk = disk{filepath.Join("testdata/disk", rest+".json")}
		case "@updater":
			env.Updater = newUpdater(t, filepath.Join(run, "u"+rest), filepath.Join("testdata/updater", rest))
		case "@owner":
			env.Setup = &owner{}
		case "@bootstrap":
			env.Bootstrap = walker{filepath.Join("testdata/bootstrap", rest)}
		case "@certs":
			env.Certs = certificates{filepath.Join("testdata/certs", rest)}
		case "@recording":
			record(t, filepath.Join(run, "observations"))
		case "$":
			var stdout, stderr bytes.Buffer
			env.Stdout, env.Stderr = &stdout, &stderr
			code := Run(t.Context(), env, strings.Fields(strings.ReplaceAll(rest, "/run/arasul", run))[1:])
			for l := range strings.Lines(stdout.String()) {
				out.WriteString("\t" + paths.Replace(l))
			}
			for l := range strings.Lines(stderr.String()) {
				out.WriteString("\t2> " + paths.Replace(l))
			}
			if code != 0 {
				fmt.Fprintf(&out, "\t[%d]\n", code)
			}
		}
	}
	return out.String()
}

// record makes a recording: a unit fails, and two repairs do not help.
func record(t *testing.T, dir string) {
	t.Helper()
	p, err := heal.LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	r := heal.NewRecorder(dir, slog.New(slog.DiscardHandler))
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var s heal.State
	see := func(o heal.Observation) {
		o.At, o.Boot, o.Uptime = now, "boot", time.Hour
		r.Record(p, s, o, now)
		s, _ = heal.Reduce(p, s, o, now)
	}
	see(heal.Observation{Units: []api.Unit{{Name: "arasul-minio.service", LoadState: "loaded", ActiveState: "active", InvocationID: "1"}}})
	now = now.Add(10 * time.Second)
	see(heal.Observation{Units: []api.Unit{{Name: "arasul-minio.service", LoadState: "loaded", ActiveState: "failed", Result: "signal", ExitStatus: 9, InvocationID: "1", StateChange: now}}})
	for range 20 {
		now = now.Add(2500 * time.Millisecond)
		if c := s.Running; c != nil {
			see(heal.Observation{Result: &heal.Result{Incident: c.Incident, Attempt: c.Attempt, Error: "job failed"}})
		}
		see(heal.Observation{Readings: []api.Reading{{Metric: "cpu_ratio", Value: 0.5, Time: now}}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.Run(ctx) // it writes what there is, and ends
}

// newDashboard is a client of a server on a unix socket that answers
// GET /api/x with the file api/x.json in dir. Without dir there is no server.
func newDashboard(t *testing.T, socket, dir string) *client.Client {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return client.New(socket)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, filepath.Join(dir, r.URL.Path+".json"))
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return client.New(socket)
}

// healer answers what lies in its folder, but for its switch; without a folder
// it is away.
type healer struct {
	dir         string
	maintenance bool
}

func (h *healer) Status(context.Context) (s api.HealerStatus, err error) {
	err = readJSON(filepath.Join(h.dir, "status.json"), &s)
	s.Maintenance = h.maintenance
	return s, err
}

func (h *healer) Incidents(_ context.Context, limit int) (list []api.Incident, err error) {
	err = readJSON(filepath.Join(h.dir, "incidents.json"), &list)
	return list[:min(limit, len(list))], err
}

func (h *healer) Explain(_ context.Context, incident string) (string, error) {
	return "Why " + incident + " is what it is.\n", nil
}

func (h *healer) Restart(_ context.Context, unit, actor string) (string, error) {
	if unit != "arasul-proxy.service" || actor != "console" {
		return "", &api.Refusal{Code: api.RefusedUnknown, Reason: unit + " is no service that the healer looks after"}
	}
	return "20261123T120000-7", nil
}

func (h *healer) ResetBreaker(context.Context) error {
	_, err := os.Stat(h.dir)
	return err
}

func (h *healer) SetMaintenance(_ context.Context, on bool) error {
	h.maintenance = on
	_, err := os.Stat(h.dir)
	return err
}

// readJSON reads strictly: a script must not go on with a field that the API
// does not have any more.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// disk answers what lies in a file; without one nothing can be measured.
type disk struct{ path string }

func (d disk) Clean(_ context.Context, dryRun bool) (r api.DiskCleanup, err error) {
	if err := readJSON(d.path, &r); err != nil {
		return r, err
	}
	if r.DryRun != dryRun {
		return r, errors.New("this is not what was asked for")
	}
	return r, nil
}

func (d disk) Reserve() (bytes uint64, why string, err error) {
	r, err := d.Clean(context.Background(), false)
	if err != nil {
		return 0, "", err
	}
	if !r.Reached {
		return 0, "the file system is too full", nil
	}
	return 256 << 20, "", nil
}

// database has no server.
type database struct{}

func (database) Init() error { return nil }
func (database) Exec() error { return errors.New("there is no server here") }
func (database) Provision(c *config.Config) error {
	return fmt.Errorf("there is no server at %s", c.Database.DSN)
}
func (database) Copy(context.Context, *config.Config, string, string, bool, []string) error {
	return nil
}

func (database) Vacuum(_ context.Context, c *config.Config, freeSpace bool) (v api.Vacuum, err error) {
	if c.Database.DSN == "" {
		return v, errors.New("there is no server")
	}
	v.Tables = []api.VacuumedTable{{Table: "samples_20261122", BeforeBytes: 21_000_000, AfterBytes: 20_400_000, DeadBefore: 120, Duration: 0.034},
		{Table: "service_units", BeforeBytes: 8192, AfterBytes: 8192, Error: "in use"}}
	if freeSpace {
		v.Dropped, v.KeptDays = 4, 5
	}
	return v, errors.New("vacuuming service_units: in use")
}

// What the dashboard answers in the scripts is what the API has.
func TestRecordedAnswersAreUpToDate(t *testing.T) {
	for _, name := range []string{"critical", "well"} {
		dir := filepath.Join("testdata/dashboard", name, "api")
		var list struct {
			Services  []api.Service
			Timestamp time.Time
		}
		if err := errors.Join(readJSON(dir+"/system/status.json", &api.SystemStatus{}), readJSON(dir+"/services.json", &list)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShownConfigurationIsAFileThatShowsTheSame(t *testing.T) {
	comment := regexp.MustCompile(`(?m)  # .*$`) // where it came from is another place
	show := func(path string) []byte {
		var stdout bytes.Buffer
		if code := Run(t.Context(), Env{Stdout: &stdout, Stderr: os.Stderr}, []string{"config", "show", "--config", path}); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		return stdout.Bytes()
	}
	first := show("testdata/config/good.toml")
	again := filepath.Join(t.TempDir(), "again.toml")
	if err := os.WriteFile(again, first, 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(comment.ReplaceAllString(string(first), ""), comment.ReplaceAllString(string(show(again)), "")); diff != "" {
		t.Errorf("shown, read and shown again:\n%s", diff)
	}
}

// A bug must not look like success.
func TestPanicIsNotSwallowed(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Run(t.Context(), Env{Stdout: os.Stdout, Stderr: os.Stderr}, []string{"status"}) // without a dashboard
}

// moods is a dashboard with another state at each question, "" being away. It
// ends the watching with the last.
type moods struct {
	stop   context.CancelFunc
	states []api.Overall
}

func (m *moods) GetJSON(_ context.Context, _ string, answer any) error {
	status, ok := answer.(*api.SystemStatus)
	if !ok {
		return nil
	}
	status.Status = m.states[0]
	m.states = m.states[1:]
	if len(m.states) == 0 {
		m.stop()
	}
	if status.Status == "" {
		return errors.New("connection refused")
	}
	return nil
}

func TestWatchingGoesOnOverErrorsUntilInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var stdout, stderr bytes.Buffer
		env := Env{Stdout: &stdout, Stderr: &stderr, Dashboard: &moods{stop, []api.Overall{api.Critical, "", api.OK}}}
		begin := time.Now()
		if code := Run(ctx, env, []string{"status", "--watch"}); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("three looks took %s, want 4s", d)
		}
		if out := stdout.String(); !strings.HasPrefix(out, "CRITICAL") || !strings.Contains(out, "\nOK") {
			t.Errorf("stdout %q", out)
		}
		if !strings.Contains(stderr.String(), "out of reach") {
			t.Errorf("stderr %q", &stderr)
		}
	})
}

// past is a dashboard that answers nothing and keeps what it was asked.
type past struct{ path string }

func (p *past) GetJSON(_ context.Context, path string, _ any) error {
	p.path = path
	return nil
}

func TestStatisticsGoAsFarBackAsTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for since, want := range map[string]time.Duration{"": 30 * 24 * time.Hour, "7d": 168 * time.Hour, "90m": 90 * time.Minute, "3650d": 87600 * time.Hour} {
			asked := &past{}
			args := []string{"heal", "statistics", "--json"}
			if since != "" {
				args = append(args, "--since", since)
			}
			if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: os.Stderr, Dashboard: asked}, args); code != 0 {
				t.Errorf("%q: exit code %d", since, code)
			}
			begin := time.Now().Add(-want).UTC().Format(time.RFC3339)
			if path := "/api/self-healing/statistics?since=" + url.QueryEscape(begin); asked.path != path {
				t.Errorf("%q asks for %s, want %s", since, asked.path, path)
			}
		}
		for _, since := range []string{"d", "-1d", "0s", "3651d", "1.5d", "99999999999999999999d", "forever"} {
			if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard, Dashboard: &past{}}, []string{"heal", "statistics", "--since=" + since}); code != 2 {
				t.Errorf("%q: exit code %d", since, code)
			}
		}
	})
}

func TestSpansAreRoundedForPeople(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"4ms":      4200 * time.Microsecond,
		"1.5s":     1499 * time.Millisecond,
		"1m05s":    65 * time.Second,
		"2h03m":    2*time.Hour + 3*time.Minute + 59*time.Second,
		"47h59m":   48*time.Hour - time.Second,
		"3 days":   74 * time.Hour,
		"106 days": 106*24*time.Hour + time.Hour,
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
