//go:build machine

package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The units of the applications, in the order of their start.
var appUnits = []string{"arasul-minio.service", "arasul-llm.service", "arasul-embeddings.service", "arasul-n8n.service"}

// step is one of a report of bootstrap's.
type step struct {
	ID, State, Detail, Error, Suggestion string
}

type report struct {
	State string
	Steps []step
}

// walk runs bootstrap or doctor and returns its report and exit status.
func (b *bed) walk(args ...string) (report, int) {
	b.t.Helper()
	out, errOut, code := b.try(append(append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "arasul"}, args...), "--json")...)
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		b.t.Fatalf("arasul %q: exit status %d, %v\n%s%s", args, code, err, out, errOut)
	}
	return r, code
}

func (r report) step(t testing.TB, id string) step {
	t.Helper()
	i := slices.IndexFunc(r.Steps, func(s step) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("there is no step %s", id)
	}
	return r.Steps[i]
}

// wantStep wants a step in a state, and a suggestion with these words.
func (r report) wantStep(t testing.TB, id, state, suggestion string) {
	t.Helper()
	if s := r.step(t, id); s.State != state || !strings.Contains(s.Suggestion, suggestion) {
		t.Errorf("step %s: want %s and a suggestion with %q, got %+v", id, state, suggestion, s)
	}
}

// inUnit runs a script as systemd's child: what podman is not allowed in there it is
// not allowed here.
func (b *bed) inUnit(script string) string {
	b.t.Helper()
	return b.run("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "sh", "-euc", script)
}

// Proves BOOT-1, BOOT-7, BOOT-8, PKG-1, PKG-3, N8N-1, N8N-2, N8N-3 and HEAL-9: one
// machine from nothing to workflows that run, with the real applications in
// containers; then each of them is hurt.
func TestApplicationsInContainers(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-apps", "--podman", "--apps", "--deb", deb(t))
	b.settle()
	for _, part := range []struct {
		name  string
		proof func(*testing.T, *bed)
	}{
		{"without images the page says what to do", withoutImages},
		{"a wrong image is refused", wrongImage},
		{"a model that cannot be had", noModel},
		{"from nothing to ready, and again", fromNothingToReady},
		{"the owner is signed in to n8n", signedInToN8N},
		{"a workflow from webhook to object", documentWorkflow},
		{"workflows that fail, hang and break off", badWorkflows},
		{"the dashboard away harms no workflow", hookTargetAway},
		{"a bad key is told", badKey},
		{"a database that is away is told", databaseAway},
		{"killed and hung applications are healed", appsHealed},
		{"an image that was removed is restored", imageRestored},
		{"a damaged model is found and restored", modelRestored},
		{"many at once", manyAtOnce},
		{"the support bundle has no secrets", supportBundle},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.proof(t, b.of(t)) }) {
			b.t.Logf("the applications said:\n%s", b.run("journalctl", "--no-pager", "--lines=60", "--output=cat", "--unit=arasul-n8n*", "--unit=arasul-minio", "--unit=arasul-buckets", "--unit=arasul-ai"))
			return // the next ones build on it
		}
	}
}

func withoutImages(t *testing.T, b *bed) {
	r, code := b.walk("doctor")
	if code != 1 || r.State != "failed" {
		t.Errorf("doctor: exit status %d, %s", code, r.State)
	}
	r.wantStep(t, "image-minio", "failed", "arasul images load FILE --as minio")
	r.wantStep(t, "image-llm", "failed", "arasul images load FILE --as llm")
	r.wantStep(t, "image-n8n", "warning", "arasul setup --accept-n8n-licence")
	r.wantStep(t, "gpu", "warning", "")
	var all struct {
		Images []struct{ Unit, Reason, Suggestion string }
	}
	b.admin().want(http.StatusOK, "GET", "/api/images", nil).read(t, &all)
	if len(all.Images) != 4 || all.Images[0].Reason == "" || all.Images[0].Suggestion == "" {
		t.Errorf("the page is told %+v", all)
	}
	for _, unit := range appUnits {
		if state, restarts := b.property(unit, "ActiveState"), b.property(unit, "NRestarts"); state != "inactive" || restarts != "0" {
			t.Errorf("%s is %s after %s restarts, and should wait", unit, state, restarts)
		}
		if s, err := b.service(unit); err != nil || !strings.Contains(s.Reason, "arasul images") {
			t.Errorf("the page says of %s: %+v, %v", unit, s, err)
		}
	}
	if list, err := b.incidents(); err != nil || len(list) > 0 {
		t.Errorf("the healer took it for a fault: %v, %v", list, err)
	}
}

// A file that is no image, and one with two images.
func wrongImage(t *testing.T, b *bed) {
	b.put("/root/no.oci", []byte("this is no image"))
	if _, errOut, code := b.try("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "arasul", "images", "load", "/root/no.oci", "--as", "minio"); code != 1 || !strings.Contains(errOut, "loading /root/no.oci") {
		t.Errorf("exit status %d, %s", code, errOut)
	}
	if _, errOut, code := b.try("arasul", "images", "load", "/root/no.oci", "--as", "minioo"); code == 0 || !strings.Contains(errOut, "minio, llm, embeddings, n8n") {
		t.Errorf("exit status %d, %s", code, errOut)
	}
	if out, _, _ := b.try("cat", "/var/lib/arasul/images.env"); out != "" {
		t.Errorf("an image was chosen: %s", out)
	}
}

func noModel(t *testing.T, b *bed) {
	b.inUnit("arasul images load /opt/apps/images/ollama.oci --as llm")
	b.run("arasul", "setup", "--llm-model", "tiny-chat", "--embedding-model", "tiny-embed")
	r, code := b.walk("bootstrap", "--only", "model-llm")
	if code != 1 {
		t.Errorf("exit status %d", code)
	}
	r.wantStep(t, "llm", "changed", "")
	r.wantStep(t, "model-llm", "failed", "arasul models load")
}

func fromNothingToReady(t *testing.T, b *bed) {
	b.inUnit("arasul images load /opt/apps/images/minio.oci --as minio; arasul images load /opt/apps/images/n8n.oci --as n8n --no-keep")
	b.run("arasul", "models", "load", "/opt/apps/models/llm", "--keep")
	b.run("arasul", "models", "load", "/opt/apps/models/embeddings", "--for", "embeddings")
	b.run("arasul", "setup", "--accept-n8n-licence")
	began := time.Now()
	r, code := b.walk("bootstrap")
	if code != 0 || r.State != "warning" { // no Jetson, no GPU
		t.Fatalf("exit status %d: %+v", code, r)
	}
	t.Logf("figure: bootstrap with images and models there took %s", time.Since(began).Round(100*time.Millisecond))
	for _, id := range []string{"buckets", "smoke-schema", "smoke-page", "smoke-healer", "smoke-llm", "smoke-embeddings", "smoke-workflow"} {
		if s := r.step(t, id); s.State != "ok" && s.State != "changed" && s.State != "warning" {
			t.Errorf("%+v", s)
		} else {
			t.Logf("figure: %s: %s", s.ID, s.Detail)
		}
	}
	r, code = b.walk("bootstrap")
	if code != 0 || slices.ContainsFunc(r.Steps, func(s step) bool { return s.State == "changed" || s.State == "failed" }) {
		t.Errorf("the second run: exit status %d, %+v", code, r)
	}
	for _, unit := range appUnits {
		if got := b.property(unit, "Slice"); got != "arasul-apps.slice" {
			t.Errorf("%s is in %s", unit, got)
		}
	}
	if got := b.property("arasul-llm.service", "CPUQuotaPerSecUSec"); got == "infinity" {
		t.Error("the language models have no limit of the processor")
	}
	who := b.inUnit("podman ps --format '{{.Names}} {{.ImageID}}'; podman inspect --format '{{.Name}} {{.HostConfig.ReadonlyRootfs}} {{.EffectiveCaps}} {{.Config.User}}' arasul-minio arasul-llm arasul-embeddings arasul-n8n")
	if strings.Count(who, " true [] ") != 4 {
		t.Errorf("containers are not as closed as they should be:\n%s", who)
	}
	for _, secret := range []string{"minio-root-password", "n8n-encryption-key"} {
		leak := b.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -cFf /var/lib/arasul/secrets/" + secret + " || true")
		if strings.TrimSpace(leak) != "0" {
			t.Errorf("%s is in a process list or an environment", secret)
		}
	}
}

func signedInToN8N(t *testing.T, b *bed) {
	owner := b.admin()
	page := owner.ask("GET", "/n8n/", nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	if page.status != http.StatusOK || owner.cookie("n8n-auth") == "" {
		t.Errorf("not signed in: %s", page)
	}
	owner.want(http.StatusOK, "GET", "/n8n/rest/workflows", nil)
	stranger := b.neighbour()
	if r := stranger.ask("GET", "/n8n/", nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate"); r.status != http.StatusSeeOther || stranger.cookie("n8n-auth") != "" {
		t.Errorf("a stranger got %s", r)
	}
	// n8n's cookie alone opens nothing.
	thief := b.neighbour()
	thief.keep("n8n-auth", owner.cookie("n8n-auth"))
	thief.want(http.StatusUnauthorized, "GET", "/n8n/rest/workflows", nil)
	owner.want(http.StatusNoContent, "POST", "/api/auth/logout", map[string]any{})
	owner.moved().want(http.StatusUnauthorized, "GET", "/n8n/rest/workflows", nil)
}

// editor is the admin with n8n open.
func (b *bed) editor() *visitor {
	b.t.Helper()
	v := b.admin()
	v.want(http.StatusOK, "GET", "/n8n/", nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	return v
}

// workflow makes a workflow of one webhook and what follows, and switches it on.
func (v *visitor) workflow(name, path string, settings map[string]any, nodes ...map[string]any) {
	v.b.t.Helper()
	all := []map[string]any{{
		"id": "hook", "name": "Webhook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "position": []int{0, 0}, "webhookId": path,
		"parameters": map[string]any{"path": path, "responseMode": "lastNode", "options": map[string]any{}},
	}}
	connections := map[string]any{}
	before := "Webhook"
	for i, n := range nodes {
		n["id"], n["position"] = fmt.Sprint("n", i), []int{220 * (i + 1), 0}
		all = append(all, n)
		connections[before] = map[string]any{"main": [][]map[string]any{{{"node": n["name"], "type": "main", "index": 0}}}}
		before = n["name"].(string)
	}
	settings["executionOrder"] = "v1"
	var made struct {
		Data struct{ ID, VersionID string }
	}
	v.want(http.StatusOK, "POST", "/n8n/rest/workflows", map[string]any{"name": name, "nodes": all, "connections": connections, "settings": settings, "active": false}).read(v.b.t, &made)
	v.want(http.StatusOK, "POST", "/n8n/rest/workflows/"+made.Data.ID+"/activate", map[string]any{"versionId": made.Data.VersionID})
}

func code(name, js string) map[string]any {
	return map[string]any{"name": name, "type": "n8n-nodes-base.code", "typeVersion": 2, "parameters": map[string]any{"jsCode": js}}
}

// activity waits until a run of a workflow is known, in a state.
func (b *bed) activity(workflow, status string, within time.Duration) (found execution) {
	b.t.Helper()
	owner := b.admin()
	eventually(b.t, within, func() error {
		var page struct{ Executions []execution }
		r := owner.moved().ask("GET", "/api/workflows/activity?limit=200", nil)
		r.read(b.t, &page)
		for _, e := range page.Executions {
			if e.Workflow == workflow && e.Status == status {
				found = e
				return nil
			}
		}
		return fmt.Errorf("no %s of %q in %s", status, workflow, r.body)
	})
	return found
}

type execution struct {
	ID, Workflow, Status, Mode, Error, Source string
	FailedNode                                string `json:"failed_node"`
}

func documentWorkflow(t *testing.T, b *bed) {
	owner := b.editor()
	var list struct {
		Data []struct{ ID, Name, VersionID string }
	}
	owner.want(http.StatusOK, "GET", "/n8n/rest/workflows", nil).read(t, &list)
	for _, w := range list.Data {
		if w.Name == "Arasul: take a document in" {
			owner.want(http.StatusOK, "POST", "/n8n/rest/workflows/"+w.ID+"/activate", map[string]any{"versionId": w.VersionID})
		}
	}
	var answer struct {
		Stored, Summary   string
		Parts, Dimensions int
	}
	eventually(t, 30*time.Second, func() error { // a webhook is there a moment after it was switched on
		r := b.neighbour().ask("POST", "/n8n/webhook/arasul-document", map[string]any{"title": "letter", "text": "The first part.\n\nThe second part.\n\nThe third."})
		if r.status != http.StatusOK {
			return errors.New(r.String())
		}
		return decode(r.body, &answer)
	})
	if answer.Stored != "letter.json" || answer.Parts != 3 || answer.Dimensions != 384 || answer.Summary != "This is the answer of a small model." {
		t.Errorf("got %+v", answer)
	}
	key := b.run("cat", "/var/lib/arasul/secrets/minio-n8n-secret")
	object := b.run("curl", "--silent", "--fail", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "arasul-n8n:"+key, "http://127.0.0.1:9000/workflow-data/letter.json")
	if !strings.Contains(object, "The second part.") {
		t.Errorf("the object is %.300s", object)
	}
	if _, _, code := b.try("curl", "--silent", "--fail", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "arasul-n8n:"+key, "http://127.0.0.1:9000/llm-cache?list-type=2"); code == 0 {
		t.Error("n8n's key opens a bucket that is not n8n's")
	}
	if e := b.activity("Arasul: take a document in", "success", 10*time.Second); e.Mode != "webhook" || e.Source != "hook" {
		t.Errorf("got %+v", e)
	}
}

func badWorkflows(t *testing.T, b *bed) {
	owner := b.editor()
	owner.workflow("it fails", "t-fails", map[string]any{}, code("Broken", "throw new Error('on purpose');"))
	owner.workflow("it hangs", "t-hangs", map[string]any{"executionTimeout": 2}, code("Waits", "await new Promise((r) => setTimeout(r, 60000)); return [];"))
	owner.workflow("it breaks off", "t-breaks", map[string]any{}, code("Waits", "await new Promise((r) => setTimeout(r, 50000)); return [];"))
	var calls sync.WaitGroup
	for _, hook := range []string{"t-fails", "t-hangs", "t-breaks"} {
		calls.Go(func() {
			_, _, _ = b.try("sh", "-c", "for i in $(seq 30); do curl --silent --max-time 70 --output /dev/null --fail-with-body http://127.0.0.1:5678/webhook/"+hook+"; case $? in 22) sleep 0.3; grep -q x /dev/null; [ $i -gt 3 ] && break;; *) break;; esac; done")
		})
	}
	if e := b.activity("it fails", "error", 30*time.Second); !strings.Contains(e.Error, "on purpose") || e.FailedNode != "Broken" {
		t.Errorf("got %+v", e)
	}
	eventually(t, 60*time.Second, func() error { // n8n has more than one word for it
		for _, status := range []string{"canceled", "error"} {
			var page struct{ Executions []execution }
			b.admin().want(http.StatusOK, "GET", "/api/workflows/activity?limit=200&status="+status, nil).read(t, &page)
			if slices.ContainsFunc(page.Executions, func(e execution) bool { return e.Workflow == "it hangs" }) {
				return nil
			}
		}
		return errors.New("the one that hangs is not known yet")
	})
	b.activity("it breaks off", "running", 90*time.Second)
	b.inUnit("podman kill --signal KILL arasul-n8n")
	calls.Wait()
	b.activity("it breaks off", "crashed", 3*time.Minute)
}

func hookTargetAway(t *testing.T, b *bed) {
	b.run("systemctl", "stop", "arasul-dashboard.socket", "arasul-executions.socket", "arasul-dashboard.service")
	before := b.sql("SELECT count(*) FROM workflow_activity WHERE workflow = 'Arasul: self-test'")
	began := time.Now()
	eventually(t, time.Minute, func() error {
		out, _, code := b.try("curl", "--silent", "--fail", "--max-time", "5", "http://127.0.0.1:5678/webhook/arasul-self-test")
		if code != 0 || !strings.Contains(out, "works") {
			return fmt.Errorf("the webhook answers %q (curl: %d)", out, code)
		}
		return nil
	})
	t.Logf("with the dashboard away the webhook answered within %s", time.Since(began).Round(time.Millisecond))
	b.run("systemctl", "start", "arasul-dashboard.socket", "arasul-executions.socket", "arasul-dashboard.service")
	eventually(t, 2*time.Minute, func() error {
		if now := b.sql("SELECT count(*) FROM workflow_activity WHERE workflow = 'Arasul: self-test'"); now == before {
			return errors.New("the run is not known yet")
		}
		return nil
	})
	b.allWell()
}

func badKey(t *testing.T, b *bed) {
	const path = "/var/lib/arasul/secrets/minio-root-password"
	right := b.run("cat", path)
	b.put(path, []byte("another-password-than-it-knows"))
	r, code := b.walk("doctor", "--only", "buckets")
	b.put(path, []byte(right))
	b.run("chmod", "600", path)
	if code != 1 || !strings.Contains(r.step(t, "buckets").Error, "does not take our key") {
		t.Errorf("exit status %d, %+v", code, r.step(t, "buckets"))
	}
	if r, code = b.walk("doctor", "--only", "buckets"); code != 0 {
		t.Errorf("with the right key: exit status %d, %+v", code, r.step(t, "buckets"))
	}
}

func databaseAway(t *testing.T, b *bed) {
	b.run("arasul", "heal", "maintenance", "on")
	b.run("systemctl", "stop", "arasul-postgres")
	r, code := b.walk("doctor", "--only", "smoke-schema")
	b.run("arasul", "heal", "maintenance", "off")
	if code != 1 || r.step(t, "database").Suggestion == "" {
		t.Errorf("exit status %d, %+v", code, r.step(t, "database"))
	}
	if r, code = b.walk("bootstrap", "--only", "database"); code != 0 || r.step(t, "database").State != "changed" {
		t.Errorf("its suggestion did not help: exit status %d, %+v", code, r)
	}
	b.allWell()
}

// appsHealed kills and stops each of them: systemd or the healer brings it back.
func appsHealed(t *testing.T, b *bed) {
	back := func(name, answer string, within time.Duration) {
		t.Helper()
		began := time.Now()
		eventually(t, within, func() error {
			if _, _, code := b.try("curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null", answer); code != 0 {
				return fmt.Errorf("%s does not answer (curl: %d)", name, code)
			}
			return nil
		})
		t.Logf("figure: %s answered again after %s", name, time.Since(began).Round(100*time.Millisecond))
	}
	const llm = "http://127.0.0.1:11434/api/version"
	for _, app := range []struct{ name, answer string }{
		{"minio", "http://127.0.0.1:9000/minio/health/live"}, {"n8n", "http://127.0.0.1:5678/healthz"},
		{"embeddings", "http://127.0.0.1:11435/api/version"}, {"llm", llm},
	} {
		b.inUnit("podman kill --signal KILL arasul-" + app.name)
		back(app.name, app.answer, 2*time.Minute)
	}
	b.allWell() // what hangs before that belongs to the incident that is open
	pid := strings.TrimSpace(b.inUnit("podman inspect --format '{{.State.Pid}}' arasul-llm"))
	b.run("kill", "-STOP", pid)
	back("llm", llm, 4*time.Minute)
	eventually(t, time.Minute, func() error {
		list, err := b.incidents()
		if err != nil {
			return err
		}
		for _, i := range list {
			if i.Unit == "arasul-llm.service" && i.Fault == "unresponsive" {
				return nil
			}
		}
		return fmt.Errorf("the healer has not written down that it hung: %v", list)
	})
}

func imageRestored(t *testing.T, b *bed) {
	id := strings.TrimSpace(b.sh("sed -n 's/^MINIO=sha256://p' /var/lib/arasul/images.env"))
	began := time.Now()
	b.inUnit("podman rmi --force " + id)
	eventually(t, 3*time.Minute, func() error {
		if _, _, code := b.try("curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null", "http://127.0.0.1:9000/minio/health/live"); code != 0 {
			return errors.New("the object store does not answer")
		}
		return nil
	})
	t.Logf("figure: an image that was removed was loaded from its archive, and the object store answered, after %s", time.Since(began).Round(100*time.Millisecond))
	b.run("arasul", "objects", "check")
	// Without an archive it waits, and says what to do.
	b.sh("rm /var/lib/arasul/images/" + id + ".oci")
	b.inUnit("podman rmi --force " + id)
	eventually(t, time.Minute, func() error {
		if state := b.property("arasul-minio.service", "ActiveState"); state != "inactive" {
			return errors.New("it is " + state)
		}
		s, err := b.service("arasul-minio.service")
		if err == nil && !strings.Contains(s.Reason, "arasul images") {
			err = fmt.Errorf("the page says %+v", s)
		}
		return err
	})
	b.inUnit("arasul images load /opt/apps/images/minio.oci --as minio")
	if r, code := b.walk("bootstrap", "--only", "buckets"); code != 0 {
		t.Errorf("exit status %d, %+v", code, r)
	}
}

func modelRestored(t *testing.T, b *bed) {
	b.sh(`f=$(ls -S /var/lib/arasul/llm/models/blobs/* | head -n 1); printf x | dd of=$f bs=1 seek=100000 conv=notrunc status=none`)
	if out, _, code := b.try("arasul", "models", "verify"); code != 1 || !strings.Contains(out, "damaged") {
		t.Errorf("exit status %d, %s", code, out)
	}
	if out, _, code := b.try("arasul", "models", "verify", "--repair"); code != 0 || !strings.Contains(out, "restored") {
		t.Errorf("exit status %d, %s", code, out)
	}
	b.run("arasul", "models", "verify")
}

// manyAtOnce is OPS-1: thirty prompts and fifty embeddings at once, twenty runs of a
// workflow a second, and the page in between.
func manyAtOnce(t *testing.T, b *bed) {
	out, errOut, _ := b.try("arasul", "loadtest", "--for", "20s", "--json")
	var answer struct {
		Results []struct {
			What      string
			Requests  int
			Failures  int
			LastError string  `json:"last_error"`
			P95       float64 `json:"p95_seconds"`
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Results) != 4 {
		t.Fatalf("%v: %s %s", err, out, errOut)
	}
	p95 := map[string]float64{}
	for _, r := range answer.Results {
		p95[r.What] = r.P95
		t.Logf("figure: 30 clients of the LLM, 50 of embeddings, 20 workflows a second, for 20 s: %s: %d requests, %d failed, p95 %.0f ms", r.What, r.Requests, r.Failures, r.P95*1000)
		switch {
		case r.What == "workflows" && r.LastError == "answered 503 Service Unavailable":
			// n8n's own word for more than it can do: of two cores the models have most.
		case r.Failures > 0:
			t.Errorf("%s: %d failed: %s", r.What, r.Failures, r.LastError)
		}
	}
	// How long an answer takes says docs/figures.md, of a machine that is alone.
	if p95["page"] == 0 || p95["page"] > p95["embeddings"] {
		t.Errorf("the page waits for the models: %v", p95)
	}
	if r, code := b.walk("bootstrap", "--only", "smoke-workflow"); code != 0 {
		t.Errorf("afterwards: exit status %d, %+v", code, r)
	}
	for _, unit := range append(slices.Clone(appUnits), "arasul-ai.service", "arasul-dashboard.service") {
		if state := b.property(unit, "ActiveState"); state != "active" {
			t.Errorf("%s is %s", unit, state)
		}
	}
}

func supportBundle(t *testing.T, b *bed) {
	b.run("arasul", "support-bundle", "-o", "/root/bundle.tar.gz")
	if mode := strings.TrimSpace(b.run("stat", "--format=%a", "/root/bundle.tar.gz")); mode != "600" {
		t.Errorf("its mode is %s", mode)
	}
	// In hexadecimal: some are any bytes, of which each newline would begin another pattern.
	found := b.sh(`hex() { od -An -v -tx1 | tr -d ' \n'; }
		zcat /root/bundle.tar.gz | hex >/root/bundle.hex
		for f in /var/lib/arasul/secrets/*; do
			secret=$(hex <$f)
			case $f in *root-user) ;; *) grep -qF "${secret%0a}" /root/bundle.hex && echo $f;; esac
		done
		rm /root/bundle.hex`)
	if strings.TrimSpace(found) != "" {
		t.Errorf("secrets are in it: %s", found)
	}
	if names := b.run("tar", "tzf", "/root/bundle.tar.gz"); !strings.Contains(names, "doctor.json") || !strings.Contains(names, "journal.txt") {
		t.Errorf("it has only %s", names)
	}
}
