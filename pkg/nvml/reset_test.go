package nvml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smi is a script in place of nvidia-smi that logs how it is called.
func smi(t *testing.T, body string) (s SMI, calls func() string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	script := "#!/bin/sh\necho \"$*\" >>" + log + "\n" + body
	s = SMI{Path: filepath.Join(dir, "nvidia-smi"), Timeout: 10 * time.Second}
	if err := os.WriteFile(s.Path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return s, func() string {
		text, _ := os.ReadFile(log)
		return string(text)
	}
}

const id = "00000000:65:00.0"

// Proves GPU-3. Persistence mode counts as a user of the GPU: the reset is
// refused while it is on.
func TestResetLeavesPersistenceModeAndGoesBack(t *testing.T) {
	s, calls := smi(t, "case $1 in --query-gpu=*) echo Enabled;; esac\n")
	if stuck, err := s.Reset(t.Context(), id); stuck || err != nil {
		t.Fatal(stuck, err)
	}
	want := "--query-gpu=persistence_mode --format=csv,noheader -i " + id + "\n" +
		"-pm 0 -i " + id + "\n--gpu-reset -i " + id + "\n-pm 1 -i " + id + "\n"
	if calls() != want {
		t.Errorf("called:\n%swant:\n%s", calls(), want)
	}
}

func TestRefusedResetSaysWhyAndGoesBack(t *testing.T) {
	s, calls := smi(t, `case $1 in
--query-gpu=*) echo Enabled;;
--gpu-reset) echo "GPU 00000000:65:00.0 is currently in use by another client."; exit 255;;
esac
`)
	stuck, err := s.Reset(t.Context(), id)
	if stuck || err == nil || !strings.Contains(err.Error(), "in use by another client") {
		t.Errorf("%v, %v", stuck, err)
	}
	if !strings.HasSuffix(calls(), "-pm 1 -i "+id+"\n") {
		t.Errorf("persistence mode was not restored:\n%s", calls())
	}
}

func TestResetThatHangsIsEnded(t *testing.T) {
	s, _ := smi(t, "case $1 in --gpu-reset) exec sleep 60;; esac\n")
	s.Timeout = 300 * time.Millisecond
	start := time.Now()
	stuck, err := s.Reset(t.Context(), id)
	if stuck || err == nil || time.Since(start) > 30*time.Second {
		t.Errorf("%v, %v after %s", stuck, err, time.Since(start))
	}
}

func TestMachineWithoutTheProgramCannotReset(t *testing.T) {
	if stuck, err := (SMI{Path: filepath.Join(t.TempDir(), "none")}).Reset(t.Context(), id); stuck || err == nil {
		t.Errorf("%v, %v", stuck, err)
	}
}

func TestOnlyAddressesReachTheCommandLine(t *testing.T) {
	for _, bad := range []string{"", "0", "all", "-h", "17000000.gpu", "65:00.0; reboot", id + "\n", "gpu0"} {
		if _, err := (SMI{Path: "/bin/true"}).Reset(t.Context(), bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
