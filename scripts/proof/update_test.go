//go:build machine

package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// misbehaves is a program of ours that goes wrong as a file beside it says.
const misbehaves = `package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/arasul/arasul/pkg/daemon"
)

func init() {
	text, _ := os.ReadFile("/usr/lib/arasul/misbehave")
	switch string(text) + " " + filepath.Base(os.Args[0]) {
	case "500 arasul-dashboard":
		l, err := daemon.Listeners("http")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			for {
				_, _ = sd.SdNotify(false, "READY=1")
				_, _ = sd.SdNotify(false, sd.SdNotifyWatchdog)
				time.Sleep(time.Second)
			}
		}()
		_ = http.Serve(l[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing works", 500) }))
	case "never arasul-metrics":
		time.Sleep(time.Hour)
	case "flaps arasul-mdns":
		_, _ = sd.SdNotify(false, "READY=1")
		time.Sleep(2 * time.Second)
		os.Exit(1)
	}
}
`

// Proves UPD-1, UPD-3 and UPD-5: a release with package, migration and image is
// installed; those after it are broken each in its own way, and package, schema,
// rows, image and configuration go back as one. Also the prototype's defects P3 (images
// stayed) and P9 (migrations without a ledger).
func TestUpdates(t *testing.T) {
	beside(t)
	w := openWorkshop(t)
	b := up(t, "machine", "t-update", "--podman", "--apps", "--deb", deb(t))
	b.settle()
	b.trustsWorkshop(w)
	b.inUnit("arasul images load /opt/apps/images/minio.oci --as minio; systemctl start arasul-minio.service")
	b.hasAnOwner()
	b.run("rm", "/etc/apt/apt.conf.d/02autoremove-arasul") // who wants none of a conffile
	var images struct{ first, second string }
	images.first = b.image("minio")

	first := w.program(t, "1.1.0", goodMigrations)
	run := b.applies(w.release(t, "1.1.0", 110, first, func(root string) {
		appendTo(t, filepath.Join(root, "etc/logrotate.d/arasul"), "# 1.1.0\n")
	}, "--image", "minio=/var/cache/arasul-testbed/apps/images/minio-other.oci"))
	if run.Outcome != "committed" {
		t.Fatalf("1.1.0: %+v\n%s", run, b.run("journalctl", "--no-pager", "--output=cat", "--unit=arasul-apply"))
	}
	t.Logf("figure: a release of 60 MB with package, migration and image took %s, services stood still for %.1f s", run.Ended.Sub(run.Started).Round(time.Second), run.Downtime)
	images.second = b.image("minio")
	if images.second == images.first {
		t.Error("the object store runs the old image")
	}
	want := b.standing("minio")
	if want.version != "1.1.0" || !strings.Contains(want.schema, "980") || want.rows != "1000" || !strings.Contains(want.config, "# 1.1.0") || !strings.Contains(want.config, "# of the owner") {
		t.Fatalf("after 1.1.0: %+v", want)
	}
	b.allWell()

	bad := w.program(t, "1.2.0", with(goodMigrations, map[string]string{"cmd/arasul/misbehave.go": misbehaves}))
	for i, tc := range []struct {
		name, program, misbehave, reason string
		edit                             func(root string)
	}{
		{name: "a script of the package fails", program: first, reason: "nothing works here", edit: func(root string) {
			script := filepath.Join(root, "DEBIAN/postinst")
			command(t, "sed", "-i", "2i echo nothing works here >&2; exit 1", script)
		}},
		{name: "a migration fails", program: w.program(t, "1.2.0", badMigrations), reason: "division by zero"},
		{name: "the dashboard answers 500", program: bad, misbehave: "500", reason: "500"},
		{name: "a unit never gets ready", program: bad, misbehave: "never", reason: "arasul-metrics.service"},
		{name: "a unit starts again and again", program: bad, misbehave: "flaps", reason: "arasul-mdns.service"},
	} {
		if !t.Run(tc.name, func(t *testing.T) {
			b := b.of(t)
			file := w.release(t, "1.2.0", 120+i, tc.program, func(root string) {
				appendTo(t, filepath.Join(root, "etc/logrotate.d/arasul"), "# 1.2.0\n")
				appendTo(t, filepath.Join(root, "usr/lib/arasul/misbehave"), tc.misbehave)
				if tc.edit != nil {
					tc.edit(root)
				}
			}, "--image", "minio=/var/cache/arasul-testbed/apps/images/minio.oci")
			run := b.applies(file)
			if run.Outcome != "rolled-back" || !strings.Contains(run.Reason, tc.reason) {
				t.Errorf("%+v, want it to go back because of %q\n%s", run, tc.reason, b.run("journalctl", "--no-pager", "--output=cat", "--lines=40", "--unit=arasul-apply"))
			}
			if now := b.standing("minio"); now != want {
				t.Errorf("afterwards:\n%+v, want\n%+v", now, want)
			}
			b.allWell()
			t.Logf("figure: gone back after %s because of %q", run.Ended.Sub(run.Started).Round(time.Second), run.Reason)
			if again := b.stage(file); again.Problem == nil || again.Problem.Code != "failed-before" {
				t.Errorf("the same once more: %+v", again)
			}
		}) {
			return
		}
	}
	t.Run("a package that the machine lacks", func(t *testing.T) { lackingPackage(t, b.of(t), w) })
	t.Run("cancelled, and may come later", func(t *testing.T) { cancelled(t, b.of(t), w) })
	t.Run("the admin goes back, and forward again", func(t *testing.T) { thereAndBack(t, b.of(t), want, images.first) })
	t.Run("over a slow line", func(t *testing.T) { slowLine(t, b.of(t), w) })
	t.Run("a journal that cannot be read", func(t *testing.T) { damagedJournal(t, b.of(t)) })
	t.Run("the release after all that keeps what the owner wrote", func(t *testing.T) {
		b := b.of(t)
		run := b.applies(w.release(t, "1.3.0", 130, first, func(root string) {
			appendTo(t, filepath.Join(root, "etc/logrotate.d/arasul"), "# 1.3.0\n")
		}))
		if now := b.standing("minio"); run.Outcome != "committed" || now.config != "# 1.3.0\n# of the owner\n" {
			t.Errorf("%+v\n%+v", run, now)
		}
	})
}

// lackingPackage: what a release needs and cannot be had offline is told before anything
// stops, and the release may be installed when it is there.
func lackingPackage(t *testing.T, b *bed, w *workshop) {
	want := b.standing("minio")
	file := w.release(t, "1.2.9", 129, "", func(root string) {
		command(t, "sed", "-i", "s/^Depends: /Depends: nosuch (>= 1), dash | nowhere, libc6 (>= 99), /", filepath.Join(root, "DEBIAN/control"))
	})
	waits := b.stage(file)
	var said struct{ Code, Detail string }
	b.updater("POST", "/apply", `{"bundle":"`+waits.Bundle+`","actor":"proof"}`, &said)
	if said.Code != "not-ready" || !strings.Contains(said.Detail, "nosuch (>= 1)") || !strings.Contains(said.Detail, "libc6 (>= 99)") || strings.Contains(said.Detail, "nowhere") {
		t.Errorf("%+v", said)
	}
	t.Logf("the owner is told: %s", said.Detail)
	if now := b.standing("minio"); now != want {
		t.Errorf("afterwards:\n%+v, want\n%+v", now, want)
	}
	if again := b.stage(file); !again.Complete || again.Problem != nil {
		t.Errorf("it does not wait: %+v", again)
	}
}

// cancelled: nothing has stopped, so nobody tells the dashboard, whose table has it all
// the same; and a person may install the release later.
func cancelled(t *testing.T, b *bed, w *workshop) {
	want := b.standing("minio")
	file := w.release(t, "1.2.8", 128, "", nil)
	b.stage(file)
	b.run("arasul", "update", "apply", "--yes", "--no-wait")
	b.run("arasul", "update", "cancel")
	eventually(t, 30*time.Second, func() error {
		said := b.sql("SELECT to_version, outcome, downtime_seconds FROM component_updates ORDER BY started_at DESC LIMIT 1")
		if said != "1.2.8|rolled-back|0" {
			return fmt.Errorf("the table says %q", said)
		}
		return nil
	})
	if now := b.standing("minio"); now != want {
		t.Errorf("afterwards:\n%+v, want\n%+v", now, want)
	}
	if again := b.stage(file); !again.Complete || again.Problem != nil {
		t.Errorf("it may not come again: %+v", again)
	}
}

// thereAndBack: a rollback after the commit keeps what was stored, and brings the
// package and the image before.
func thereAndBack(t *testing.T, b *bed, newest standing, oldImage string) {
	for _, to := range []struct{ version, image string }{{newest.version, ""}, {"", newest.image}} {
		var s updateState
		b.updater("POST", "/rollback", `{"actor":"proof","reason":"try"}`, &s)
		if s.Run == nil {
			t.Fatalf("%+v", s)
		}
		run := b.updated(s.Run.ID, 5*time.Minute)
		if run.Outcome != "committed" || run.Kind != "rollback" || to.version != "" && run.From != to.version {
			t.Fatalf("%+v\n%s", run, b.run("journalctl", "--no-pager", "--output=cat", "--lines=40", "--unit=arasul-apply"))
		}
		want := oldImage
		if to.image != "" {
			want = to.image
		}
		if now := b.standing("minio"); now.version != run.To || now.rows != newest.rows || now.image != want {
			t.Errorf("now %+v", now)
		}
		b.allWell()
	}
}

// slowLine sends one of the page's slices, through the proxy and the dashboard, in more
// than the half minute that other requests have.
func slowLine(t *testing.T, b *bed, w *workshop) {
	const slice = 8 << 20
	content, err := os.ReadFile(w.release(t, "1.2.7", 127, "", nil))
	if err != nil {
		t.Fatal(err)
	}
	b.put("/root/slice", content[:slice])
	out := b.run("curl", "--silent", "--show-error", "--insecure", "--limit-rate", "230k", "--max-time", "120",
		"--header", "Authorization: Bearer "+b.bearerClient().bearer, "--header", "Content-Type: application/octet-stream",
		"--header", fmt.Sprintf("Content-Range: bytes 0-%d/%d", slice-1, len(content)), "--data-binary", "@/root/slice",
		"--write-out", "%{http_code} %{time_total}", "https://127.0.0.1/api/update/upload")
	answer, how, _ := strings.Cut(out, "\n")
	var received struct {
		Bytes int64 `json:"received_bytes"`
	}
	if err := json.Unmarshal([]byte(answer), &received); err != nil || !strings.HasPrefix(how, "200 3") || received.Bytes < slice-1<<20 {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("figure: status and seconds of a slice at 230 kB/s: %s", how)
	b.updater("DELETE", "/stage", "", &updateState{})
}

// damagedJournal has a transaction under way whose journal a disk has changed: it is given
// up, and the page says so; the machine goes on.
func damagedJournal(t *testing.T, b *bed) {
	b.inUnit(`cd /var/lib/arasul/update
		cp -r history/$(ls history | tail -n 1) next.damaged
		sed -i 's/"id": *"[^"]*"/"id": "29991231T235959"/' next.damaged/order.json
		printf X | dd of=next.damaged/journal bs=1 seek=20 conv=notrunc status=none
		cp /usr/lib/arasul/arasul next.damaged/arasul-apply
		mv next.damaged run
		systemctl start arasul-apply.service`)
	run := b.updated("29991231T235959", time.Minute)
	if run.Outcome != "stuck" || !strings.Contains(run.Reason, "journal is damaged") {
		t.Errorf("%+v", run)
	}
	eventually(t, time.Minute, func() error { // or the next would be of that year, too
		if _, errOut, code := b.try("rm", "-r", "/var/lib/arasul/update/history/29991231T235959"); code != 0 {
			return errors.New(errOut)
		}
		return nil
	})
	b.allWell()
}

// Proves UPD-2, UPD-3 and UPD-4: a disk that became full while a release waited is told
// before anything is done; one that becomes full in the middle, to the last byte, does
// not keep the machine from going back.
func TestUpdateOnAFullDisk(t *testing.T) {
	beside(t)
	w := openWorkshop(t)
	b := small(t, "t-fullup", 1200)
	b.run("arasul", "disk", "reserve")
	b.trustsWorkshop(w)
	b.hasAnOwner()
	want := b.standing("minio")

	file := w.release(t, "1.2.0", 120, "", nil)
	waits := b.stage(file)
	b.fillTo(95)
	var said struct{ Code, Detail string }
	b.updater("POST", "/apply", `{"bundle":"`+waits.Bundle+`","actor":"proof"}`, &said)
	if said.Code != "no-space" {
		t.Errorf("%+v", said)
	}
	t.Logf("the owner is told: %s", said.Detail)
	b.run("rm", "-r", "/var/lib/arasul/models")
	if again := b.stage(file); !again.Complete || again.Problem != nil {
		t.Errorf("it does not wait: %+v", again)
	}

	// Room for the release, and not for a copy of the database.
	b.asOwner("CREATE TABLE fat AS SELECT repeat(md5(n::text), 60) AS text FROM generate_series(1, 100000) AS n; CHECKPOINT")
	b.sh(`mkdir /var/lib/arasul/models
		fallocate --length $(($(stat --file-system --format="%f * %S" /var/lib/arasul) - (420 << 20))) /var/lib/arasul/models/big`)
	run := b.applies(file)
	if run.Outcome != "rolled-back" || !strings.Contains(run.Reason, "the copy of the database needs") || run.Downtime > 0 {
		t.Errorf("%+v", run)
	}
	t.Logf("the owner is told: %s", run.Reason)
	b.asOwner("DROP TABLE fat; CHECKPOINT")
	b.run("rm", "-r", "/var/lib/arasul/models")

	b.sh("fallocate --length 60M /var/cache/arasul/blob")
	run = b.applies(w.release(t, "1.2.1", 121, "", func(root string) {
		command(t, "sed", "-i", "2i [ ! -e /var/lib/arasul/models ] || exit 1; mkdir /var/lib/arasul/models; cat /dev/zero >/var/lib/arasul/models/rest || true; exit 1", filepath.Join(root, "DEBIAN/postinst"))
	}))
	log := b.run("journalctl", "--no-pager", "--output=cat", "--lines=60", "--unit=arasul-apply")
	if run.Outcome != "rolled-back" || !strings.Contains(log, "disk nearly full in the middle of an update") {
		t.Errorf("%+v\n%s", run, log)
	}
	t.Logf("figure: gone back after %s with %.1f %% of the disk used: %s", run.Ended.Sub(run.Started).Round(time.Second), b.used(), run.Reason)
	if now := b.standing("minio"); now != want {
		t.Errorf("afterwards:\n%+v, want\n%+v", now, want)
	}
	b.empty()
}

// Proves UPD-4 and the second promise, with the kernel of this host: the file system of
// the machine is shut down in an instant, and all processes are killed.
func TestPowerCuts(t *testing.T) {
	beside(t)
	powerCuts(t, 3, 30*time.Second, func(name string) *bed {
		return up(t, "machine", name, "--disk", "--podman", "--deb", deb(t))
	})
}
