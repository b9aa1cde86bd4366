//go:build box

package proof

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// releaseStick makes the image of a stick with files of this host in it.
func releaseStick(t *testing.T, files ...string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "stick.img")
	here(t, "truncate", "-s", "256M", img)
	here(t, "mkfs.vfat", "-n", "UPDATES", img)
	here(t, append([]string{"mcopy", "-i", img}, append(files, "::")...)...)
	return img
}

// browses is what the owner sees; see update.mjs.
func (b *bed) browses(home, folder string, args ...string) (seen []string) {
	b.t.Helper()
	out := strings.TrimSpace(b.lan(home, append([]string{"node", "update.mjs", folder}, args...)...))
	var answer struct {
		Trouble, URL string
		Seen         []string
	}
	if err := json.Unmarshal([]byte(out[strings.LastIndex(out, "\n")+1:]), &answer); err != nil {
		b.t.Fatalf("%v in %s", err, out)
	}
	if answer.Trouble != "" {
		b.t.Fatalf("%s at %s, see update-trouble.png", answer.Trouble, answer.URL)
	}
	return answer.Seen
}

// Proves UPD-1, UPD-6 and UPD-7: a release with package, migration and image comes by
// a stick that is plugged in, and the page shows it to its end; the next one comes by upload
// in a browser, and one after it that is broken is taken back as one. Also the prototype's defects P5 (the stick's program asked for what
// was not there) and P6 (the last one won, not the newest).
func TestReleasesByStickAndByUpload(t *testing.T) {
	w := openWorkshop(t)
	b := up(t, "box", "t-releases", "--deb", deb(t))
	b.well(3 * time.Minute)
	b.trustsWorkshop(w)
	b.run("systemctl", "disable", "--now", "arasul-n8n.service") // the image is of nothing
	b.hasAnOwner()
	home, folder, password := t.TempDir(), shots(t), "Fjord-7-"+rand.Text()
	b.trusts(home)
	b.browses(home, folder, "set-up", b.setupCode(), password)

	good := w.program(t, "1.1.0", goodMigrations)
	release := func(version string, sequence int, program, image string) string {
		return w.release(t, version, sequence, program, func(root string) {
			appendTo(t, filepath.Join(root, "etc/logrotate.d/arasul"), "# "+version+"\n")
		}, "--image", "n8n="+w.ofImages(t, image))
	}
	byStick := func(text string, files ...string) []string {
		stick := releaseStick(t, files...)
		var names []string
		for _, file := range files {
			names = append(names, filepath.Base(file))
		}
		watching := filepath.Join(folder, "watching")
		_ = os.Remove(watching)
		done := make(chan []string, 1)
		go func() {
			defer close(done)
			done <- b.browses(home, folder, append([]string{"watch", password, text}, names...)...)
		}()
		eventually(t, 3*time.Minute, func() error { _, err := os.Stat(watching); return err })
		b.do("usb-insert", stick)
		defer b.do("usb-remove")
		return <-done
	}
	check := func(how string, seen []string) {
		t.Helper()
		t.Logf("the page showed, %s: %s", how, strings.Join(seen, " | "))
		if len(seen) < 4 {
			t.Errorf("%s: the page showed %d stations", how, len(seen))
		}
		b.well(4 * time.Minute)
		if out, _, _ := b.try("systemctl", "is-active", "arasul-n8n.service"); out != "inactive\n" {
			t.Errorf("%s: n8n, which the owner switched off, is %s", how, out)
		}
	}

	// Beside the release there is an older one, and what is none.
	old := w.release(t, "1.0.9", 109, "", nil)
	rubbish := filepath.Join(t.TempDir(), "zzz.araupdate")
	appendTo(t, rubbish, "no release, but named like one")
	check("stick", byStick("Version 1.1.0 is installed", old, rubbish, release("1.1.0", 110, good, "first")))
	first := b.standing("n8n")
	if first.version != "1.1.0" || !strings.Contains(first.schema, "980") || first.rows != "1000" || first.image == "" || !strings.Contains(first.config, "# 1.1.0") || !strings.Contains(first.config, "# of the owner") {
		t.Fatalf("after 1.1.0: %+v", first)
	}

	check("upload", b.browses(home, folder, "upload", password, release("1.2.0", 120, good, "second"), "Version 1.2.0 is installed"))
	second := b.standing("n8n")
	if second.version != "1.2.0" || second.image == first.image || second.rows != first.rows {
		t.Fatalf("after 1.2.0: %+v", second)
	}

	check("broken", b.browses(home, folder, "upload", password, release("1.3.0", 130, w.program(t, "1.3.0", badMigrations), "third"), "Version 1.3.0 was not kept"))
	if third := b.standing("n8n"); third != second {
		t.Errorf("after 1.3.0:\n%+v, want\n%+v", third, second)
	}
	for _, said := range b.history() {
		t.Logf("figure: %s %s to %s: %s, %s, services stood still for %.0f s %s", said.Kind, said.From, said.To, said.Outcome, said.Ended.Sub(said.Started).Round(time.Second), said.Downtime, said.Reason)
	}
	for _, line := range []string{"bundle refused.*zzz.araupdate", "bundle is on this machine.*version=1.1.0"} {
		if out, _, _ := b.try("grep", "-c", line, "/var/log/arasul/update_usb.log"); out == "0\n" || out == "" {
			t.Errorf("update_usb.log has no line %q:\n%s", line, b.run("cat", "/var/log/arasul/update_usb.log"))
		}
	}
}

func (b *bed) history() []updateRun {
	b.t.Helper()
	var answer struct{ Runs []updateRun }
	b.updater("GET", "/history", "", &answer)
	if len(answer.Runs) == 0 {
		b.t.Fatal(fmt.Errorf("the history is empty"))
	}
	return answer.Runs
}

// Proves UPD-4 and the second promise: the power fails with the kernel and all.
func TestPowerCutsOfTheBox(t *testing.T) {
	powerCuts(t, 1, 150*time.Second, func(name string) *bed { return up(t, "box", name, "--deb", deb(t)) })
}
