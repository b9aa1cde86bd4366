//go:build machine

package proof

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What changes on a machine that is left alone, and is no work of doctor's: the
// database, the memories of healer and metrics, logs and how far they were read, the
// name in the network.
const restless = `-not -path "*/postgres*" -not -path "*/healer*" -not -path "*/metrics*" -not -path "*/logs/cursor" -not -path "/run/arasul/mdns/*" -not -path "/var/log/*" -not -path "/run/systemd/*" -not -path "/run/log/*" -not -path "/run/udev/*"`

// Proves BOOT-1, BOOT-2 and PKG-1: a machine without GPU, images and network. What is
// missing is told with what to do; what does not need it is well.
func TestBootstrapWithoutNetwork(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-boot", "--deb", deb(t))
	b.settle()
	for _, part := range []struct {
		name  string
		proof func(*testing.T, *bed)
	}{
		{"doctor changes nothing", doctorChangesNothing},
		{"bootstrap fails clearly, and again", failsClearly},
		{"one at a time", oneAtATime},
		{"a port that is taken", portTaken},
		{"a disk that is full", diskFull},
		{"answers of the page", pageAnswers},
	} {
		t.Run(part.name, func(t *testing.T) { part.proof(t, b.of(t)) })
	}
}

func doctorChangesNothing(t *testing.T, b *bed) {
	b.sh("touch /root/mark; sleep 1.1")
	if r, code := b.walk("doctor"); code != 1 || r.State != "failed" {
		t.Errorf("exit status %d, %s", code, r.State)
	}
	changed := b.sh("find /etc /usr /opt /root /home /srv /var /run -xdev -newer /root/mark -type f " + restless + " 2>/dev/null || true")
	if changed != "" {
		t.Errorf("doctor has changed:\n%s", changed)
	}
}

func failsClearly(t *testing.T, b *bed) {
	for range 2 {
		r, code := b.walk("bootstrap")
		if code != 1 || r.State != "failed" {
			t.Errorf("exit status %d, %s", code, r.State)
		}
		r.wantStep(t, "podman", "failed", "apt update && apt install podman")
		r.wantStep(t, "gpu", "warning", "arasul setup")
		for _, id := range []string{"directories", "secrets", "database", "daemons", "gateway", "smoke-schema", "smoke-page", "smoke-healer"} {
			r.wantStep(t, id, "ok", "")
		}
		for _, id := range []string{"image-minio", "image-llm", "llm", "model-llm", "smoke-llm"} {
			if s := r.step(t, id); s.State != "skipped" || !strings.HasPrefix(s.Detail, "waits for: ") {
				t.Errorf("%s is blamed for another: %+v", id, s)
			}
		}
	}
	var s struct {
		Done   bool
		Report struct {
			State    string
			Attempts int
		}
	}
	b.admin().want(200, "GET", "/api/setup", nil).read(t, &s)
	if s.Done || s.Report.State != "failed" || s.Report.Attempts != 2 {
		t.Errorf("the page is told %+v", s)
	}
	b.allWell()
}

func oneAtATime(t *testing.T, b *bed) {
	out, errOut, code := b.try("flock", "/run/arasul/bootstrap/report.json.lock", "arasul", "bootstrap", "--only", "disk")
	if code != 1 || !strings.Contains(errOut, "runs already") {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}
	if _, code := b.walk("bootstrap", "--only", "disk"); code != 0 {
		t.Errorf("afterwards: exit status %d", code)
	}
}

// The other port is ours, so the proxy runs. The suggestion is followed, and helps.
func portTaken(t *testing.T, b *bed) {
	b.sh(`systemctl stop arasul-proxy.service arasul-proxy.socket arasul-proxy-tls.socket
		systemd-run --quiet --unit=squatter systemd-socket-activate --accept --listen=80 cat
		systemctl start arasul-proxy-tls.socket`)
	eventually(t, 20*time.Second, func() error {
		if r, _ := b.walk("doctor", "--only", "ports"); r.State != "failed" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	r, _ := b.walk("doctor", "--only", "ports")
	s := r.step(t, "ports")
	_, command, found := strings.Cut(s.Suggestion, "; then: ")
	if !found || !strings.Contains(s.Error, "port 80 belongs to systemd-socket") {
		t.Fatalf("%+v", s)
	}
	b.sh("systemctl start arasul-proxy.service || true; systemctl stop squatter; " + command)
	if r, code := b.walk("bootstrap", "--only", "smoke-page"); code != 0 {
		t.Errorf("exit status %d, %+v", code, r)
	}
	b.allWell()
}

func diskFull(t *testing.T, b *bed) {
	out, _, code := b.try("unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=1g none /var/lib/arasul && arasul doctor --only image-llm")
	if code != 1 || !strings.Contains(out, "it is full") || !strings.Contains(out, "arasul disk clean") {
		t.Errorf("exit status %d\n%s", code, out)
	}
}

// Proves BOOT-4: root takes the page's answers, judges them again, and says on the
// page when it does not; what lies there instead of answers is not followed.
func pageAnswers(t *testing.T, b *bed) {
	const request = "/var/lib/arasul/dashboard/setup.json"
	leave := func(text string) {
		b.sh("printf %s '" + text + "' > /root/answers; install --owner=arasul-dashboard --mode=600 /root/answers " + request)
		eventually(t, 10*time.Second, func() error {
			if _, _, code := b.try("test", "-e", request); code == 0 {
				return fmt.Errorf("the answers were not taken")
			}
			return nil
		})
	}
	state := func() (s struct {
		Answers struct {
			Model string `json:"llm_model"`
		}
		Report struct {
			State string
			Steps []step
		}
	}) {
		b.admin().want(200, "GET", "/api/setup", nil).read(t, &s)
		return s
	}
	for _, bad := range []string{`{"interface":"nonsense0"}`, `{"colour":"red"}`, `{`} {
		leave(bad)
		eventually(t, 10*time.Second, func() error {
			if s := state(); s.Report.State != "failed" || len(s.Report.Steps) != 1 || s.Report.Steps[0].Error == "" {
				return fmt.Errorf("%s: the page is told %+v", bad, s)
			}
			return nil
		})
		b.sh("rm /run/arasul/bootstrap/report.json")
	}

	b.sh("ln -s /etc/shadow " + request)
	eventually(t, 10*time.Second, func() error {
		if out := b.sh("ls -A /var/lib/arasul/dashboard"); strings.Contains(out, "setup.json") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	b.sh("test -s /etc/shadow")

	b.admin().want(422, "POST", "/api/setup", map[string]any{"name": "My Box"})
	b.admin().want(202, "POST", "/api/setup", map[string]any{"llm_model": "keller:1b", "minio_password": "Kellerschluessel-7"})
	eventually(t, 30*time.Second, func() error {
		if s := state(); s.Answers.Model != "keller:1b" || s.Report.State != "failed" || len(s.Report.Steps) < 20 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if text := b.run("cat", "/var/lib/arasul/settings.toml"); strings.Contains(text, "Kellerschluessel") {
		t.Errorf("a secret is in the settings:\n%s", text)
	}
	if key := b.run("cat", "/var/lib/arasul/secrets/minio-root-password"); strings.TrimSpace(key) != "Kellerschluessel-7" {
		t.Error("the secret key is another one")
	}
	b.run("arasul", "setup", "--name", "cellar")
	eventually(t, 30*time.Second, func() error {
		if shown := b.run("arasul", "certs", "show"); !strings.Contains(shown, "cellar.local") {
			return fmt.Errorf("%s", shown)
		}
		return nil
	})
	if out := b.sh("journalctl --no-pager; cat /run/arasul/bootstrap/report.json"); strings.Contains(out, "Kellerschluessel") {
		t.Error("the secret key is in a log")
	}
}
