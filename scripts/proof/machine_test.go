//go:build machine || box

package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// The daemons in the order in which they start.
var daemons = []string{
	"arasul-postgres.service",
	"arasul-metrics.service",
	"arasul-proxy.service",
	"arasul-dashboard.service",
	"arasul-mdns.service",
	"arasul-gpu.service",
	"arasul-logs.service",
	"arasul-ai.service",
	"arasul-healer.service",
}

// What the API says, as far as these tests ask.
type (
	systemStatus struct {
		Status  string `json:"status"`
		Reasons []struct {
			Code    string `json:"code"`
			Subject string `json:"subject"`
			Message string `json:"message"`
		} `json:"reasons"`
	}

	service struct {
		Unit   string `json:"unit"`
		Status string `json:"status"`
		Reason string `json:"reason"`
	}

	sample struct {
		Timestamp time.Time `json:"timestamp"`
		CPU       float64   `json:"cpu_ratio"`
		Cores     int       `json:"cpu_cores"`
		Memory    uint64    `json:"memory_used_bytes"`
		Uptime    float64   `json:"uptime_seconds"`
	}

	incident struct {
		ID          string     `json:"id"`
		Rule        string     `json:"rule"`
		Unit        string     `json:"unit"`
		Cause       string     `json:"cause"`
		Fault       string     `json:"fault"`
		Detail      string     `json:"detail"`
		State       string     `json:"state"`
		Count       int        `json:"failure_count"`
		FaultAt     time.Time  `json:"fault_at"`
		DetectedAt  time.Time  `json:"detected_at"`
		ActedAt     *time.Time `json:"acted_at"`
		RecoveredAt *time.Time `json:"recovered_at"`
		VerifiedAt  *time.Time `json:"verified_at"`
		Actions     []struct {
			Kind      string    `json:"action"`
			Outcome   string    `json:"outcome"`
			StartedAt time.Time `json:"started_at"`
		} `json:"actions"`
	}
)

func (i incident) String() string {
	var tried []string
	for _, a := range i.Actions {
		tried = append(tried, a.Kind+" "+a.Outcome)
	}
	return fmt.Sprintf("%s %s %s (%s), %d failures, %s: %s", i.ID, i.Unit, i.State, i.Fault, i.Count, i.Detail, strings.Join(tried, ", "))
}

// get asks the API as a browser in the owner's network does.
func (b *bed) get(path string, answer any) error {
	client := b.client(false)
	client.Timeout = 5 * time.Second
	resp, err := client.Get(b.web + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests { // the box takes us for one neighbour
		time.Sleep(time.Second)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// incidents asks for the newest incidents, newest first, but for those of the processor,
// which is the host's.
func (b *bed) incidents() ([]incident, error) {
	var answer struct {
		Events []incident `json:"events"`
	}
	err := b.get("/api/self-healing/events?limit=200", &answer)
	return slices.DeleteFunc(answer.Events, func(i incident) bool { return i.Rule == busyRule }), err
}

// service asks how the service of a unit does.
func (b *bed) service(unit string) (service, error) {
	var s service
	err := b.get("/api/services/"+strings.TrimSuffix(strings.TrimPrefix(unit, "arasul-"), ".service"), &s)
	return s, err
}

// property asks systemd.
func (b *bed) property(unit, name string) string {
	b.t.Helper()
	return strings.TrimSpace(b.run("systemctl", "show", "--value", "--property="+name, unit))
}

// sql asks the database as the dashboard.
func (b *bed) sql(query string) string {
	b.t.Helper()
	return strings.TrimSpace(b.run("setpriv", "--reuid=arasul-dashboard", "--regid=arasul-dashboard", "--init-groups",
		"psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host=/run/arasul/postgres", "arasul", "--command="+query))
}

// put writes a file in the machine.
func (b *bed) put(path string, content []byte) {
	b.t.Helper()
	args := []string{b.script, "exec", "--name", b.name}
	if filepath.Base(b.script) == "box" {
		args = append(args, "-i")
	}
	_, errOut, code := run(b.t, content, time.Minute, append(args, "--", "sh", "-c", `cat >"$0"`, path)...)
	if code != 0 {
		b.t.Fatalf("writing %s: exit status %d\n%s", path, code, errOut)
	}
}

// putDeb writes a package in the machine.
func (b *bed) putDeb(from, to string) {
	b.t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		b.t.Fatal(err)
	}
	b.put(to, content)
}

// tryApt runs apt as a child of systemd, bound by all that binds the machine.
// Nobody answers its questions.
func (b *bed) tryApt(args ...string) (out string, code int) {
	b.t.Helper()
	command := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--setenv=DEBIAN_FRONTEND=noninteractive",
		"apt-get", "--yes", "--quiet", "--option=Dpkg::Use-Pty=0"}
	out, errOut, code := b.try(append(command, args...)...)
	return out + errOut, code
}

func (b *bed) apt(args ...string) string {
	b.t.Helper()
	out, code := b.tryApt(args...)
	if code != 0 {
		b.t.Fatalf("apt-get %s: exit status %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// dropIn adds a drop-in to a unit until the test ends. It takes effect when
// the unit starts.
func (b *bed) dropIn(unit, text string) (remove func()) {
	b.t.Helper()
	dir := "/run/systemd/system/" + unit + ".d"
	b.run("mkdir", "-p", dir)
	b.put(dir+"/proof.conf", []byte(text))
	b.run("systemctl", "daemon-reload")
	remove = func() {
		b.run("rm", "-rf", dir)
		b.run("systemctl", "daemon-reload")
	}
	b.t.Cleanup(remove)
	return remove
}

// allWell waits until every daemon runs, nothing is being repaired and the page
// can be asked.
func (b *bed) allWell() {
	b.t.Helper()
	eventually(b.t, time.Minute, func() error {
		var answer struct {
			Services []service `json:"services"`
		}
		if err := b.get("/api/services", &answer); err != nil {
			return err
		}
		up := map[string]bool{}
		for _, s := range answer.Services {
			up[s.Unit] = s.Status == "up"
		}
		for _, unit := range append([]string{"arasul-db.service"}, daemons...) {
			if !up[unit] {
				return fmt.Errorf("%s is not up: %+v", unit, answer.Services)
			}
		}
		incidents, err := b.incidents()
		if err != nil {
			return err
		}
		for _, i := range incidents {
			if i.State != "resolved" {
				return errors.New(i.String())
			}
		}
		var s systemStatus
		if err := b.get("/api/system/status", &s); err != nil {
			return err
		}
		for _, r := range s.Reasons {
			if r.Code != "service-restarted" && !busy(r.Code, r.Subject) { // a restart stays for ten minutes
				return errors.New(r.Message)
			}
		}
		return nil
	})
}

// live is what an open page hears: one WebSocket through the proxy.
type live struct {
	t    testing.TB
	conn *websocket.Conn
}

// listen opens the live stream. It is not opened again when it breaks.
func (b *bed) listen() *live {
	b.t.Helper()
	l := &live{t: b.t}
	client := b.client(true)
	client.Timeout = 0 // it would cut the stream
	eventually(b.t, 20*time.Second, func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.conn, _, err = websocket.Dial(ctx, b.web+"/api/metrics/live-stream", &websocket.DialOptions{HTTPClient: client})
		return err
	})
	l.conn.SetReadLimit(1 << 20)
	b.t.Cleanup(func() { _ = l.conn.CloseNow() })
	return l
}

// next returns the next message; err says that the stream broke.
func (l *live) next(ctx context.Context) (kind string, i *incident, err error) {
	_, message, err := l.conn.Read(ctx)
	if err != nil {
		return "", nil, err
	}
	var event struct {
		Type     string    `json:"type"`
		Incident *incident `json:"incident"`
	}
	err = json.NewDecoder(bytes.NewReader(message)).Decode(&event)
	return event.Type, event.Incident, err
}

// incident waits until the stream tells of an incident that want accepts.
func (l *live) incident(within time.Duration, want func(incident) bool) incident {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var last *incident
	for {
		_, i, err := l.next(ctx)
		if err != nil {
			l.t.Fatalf("the live stream broke before the awaited incident came: %v; the last one was %v", err, last)
		}
		if i == nil {
			continue
		}
		if last = i; want(*i) {
			return *i
		}
	}
}

// about accepts an incident that began after this moment.
func about(unit string, since time.Time, states ...string) func(incident) bool {
	return func(i incident) bool {
		if i.Unit != unit || i.FaultAt.Before(since) {
			return false
		}
		for _, s := range states {
			if i.State == s {
				return true
			}
		}
		return len(states) == 0
	}
}
