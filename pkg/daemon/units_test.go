package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Proves BOOT-9 and PKG-2 as far as the units go: systemctl reload reaches every
// daemon of ours, systemd waits for each to be ready and notices when it hangs,
// and starts none again whose configuration is refused.
func TestUnitsOfDaemonsReloadAndAreWatched(t *testing.T) {
	paths, err := filepath.Glob("../../systemd/*.service")
	if err != nil || len(paths) == 0 {
		t.Fatalf("units: %q, %v", paths, err)
	}
	daemons := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		has := func(begin string) bool {
			return slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, begin) })
		}
		switch {
		case !has("Type=notify"), has("Restart=on-failure"): // a step that ends
			continue
		case has("ExecStart=/usr/lib/arasul/arasul db exec"), has("ExecStart=/usr/lib/arasul/arasul container run"): // programs of others
			continue
		}
		daemons++
		for _, want := range []string{"ExecReload=/bin/kill -HUP $MAINPID", "Restart=always", "WatchdogSec="} {
			if !has(want) {
				t.Errorf("%s has no line %s", filepath.Base(path), want)
			}
		}
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "RestartPreventExitStatus=") && strings.HasSuffix(line, "78")
		}) {
			t.Errorf("%s is started again when its configuration is refused", filepath.Base(path))
		}
	}
	if daemons < 6 {
		t.Errorf("%d daemons were found", daemons)
	}
}
