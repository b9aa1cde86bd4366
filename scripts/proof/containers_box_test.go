//go:build box

package proof

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Proves PKG-5: on a kernel of its own a container of ours is what it should be: an
// image that no registry gave, run by its ID, within its limits, back after it was
// killed. Before that the page says what is missing.
func TestContainerInTheBox(t *testing.T) {
	b := up(t, "box", "apps", "--deb", deb(t))
	const unit = "arasul-llm.service"
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.run("sh", "-c", "systemctl status --no-pager --lines=0 "+unit+"; journalctl --no-pager --lines=60 --unit="+unit+" --unit=arasul-healer | grep -v GIN"))
		}
	})
	eventually(t, 2*time.Minute, func() error {
		s, err := b.service(unit)
		if err == nil && !strings.Contains(s.Reason, "arasul images load") {
			err = fmt.Errorf("the page says %+v", s)
		}
		return err
	})
	archive, err := filepath.Abs("/var/cache/arasul-testbed/apps/images/ollama.oci")
	if err != nil {
		t.Fatal(err)
	}
	b.do("push", archive, "/root/ollama.oci")
	began := time.Now()
	b.run("arasul", "images", "load", "/root/ollama.oci", "--as", "llm")
	t.Logf("figure: loading an image of 59 MB, durably, took %s", time.Since(began).Round(100*time.Millisecond))
	b.run("systemctl", "start", unit)
	answers := func() error {
		if _, _, code := b.try("curl", "--silent", "--fail", "--max-time", "5", "--output", "/dev/null", "http://127.0.0.1:11434/api/version"); code != 0 {
			return errors.New("it does not answer")
		}
		return nil
	}
	eventually(t, 2*time.Minute, answers)
	chosen := strings.TrimSpace(b.sh("sed -n 's/^LLM=sha256://p' /var/lib/arasul/images.env"))
	if runs := strings.TrimSpace(b.run("podman", "inspect", "--format", "{{.Image}}", "arasul-llm")); runs != chosen {
		t.Errorf("it runs %s, and %s was chosen", runs, chosen)
	}
	limits := b.sh("cd /sys/fs/cgroup/arasul.slice/arasul-apps.slice/" + unit + " && cat memory.max cpu.max pids.max && cat libpod-payload-*/cgroup.procs | wc -l")
	wanted := b.sh("systemctl show --property=MemoryMax --value " + unit)
	lines := strings.Fields(limits)
	if len(lines) != 5 || lines[0] != strings.TrimSpace(wanted) || lines[1] == "max" || lines[3] == "max" || lines[4] == "0" {
		t.Errorf("its control group says %q, and MemoryMax is %s", lines, wanted)
	}
	t.Logf("figure: memory.max %s, cpu.max %s %s", lines[0], lines[1], lines[2])
	began = time.Now()
	b.run("podman", "kill", "--signal", "KILL", "arasul-llm")
	eventually(t, time.Minute, func() error {
		if b.run("systemctl", "show", "--property=NRestarts", "--value", unit) == "0\n" {
			return errors.New("systemd has not restarted it yet")
		}
		return nil
	})
	eventually(t, 2*time.Minute, answers)
	t.Logf("figure: killed, it answered again after %s", time.Since(began).Round(100*time.Millisecond))
}
