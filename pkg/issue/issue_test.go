package issue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTextIsShownToRootAloneAndPromptsAreTold(t *testing.T) {
	dir := t.TempDir()
	f := File{filepath.Join(dir, "arasul.issue"), filepath.Join(dir, "agetty.reload")}
	if err := os.WriteFile(f.Reload, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := func() {
		t.Helper()
		info, err := os.Stat(f.Reload)
		if err != nil || info.ModTime().Year() == 2000 {
			t.Errorf("no prompt was told (%v)", err)
		}
		old := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		_ = os.Chtimes(f.Reload, old, old)
	}
	told()
	if text, err := f.Text(); text != "" || err != nil {
		t.Errorf("shown before: %q, %v", text, err)
	}
	const text = "code\n" + `a \4 that is no address` + "\n"
	if err := f.Show(text); err != nil {
		t.Fatal(err)
	}
	told()
	raw, err := os.ReadFile(f.Path)
	if err != nil || !strings.Contains(string(raw), `a \\4`) {
		t.Errorf("%q, %v: agetty would put an address in", raw, err)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if got, err := f.Text(); got != text || err != nil {
		t.Errorf("shown %q, %v", got, err)
	}
	for range 2 {
		if err := f.Clear(); err != nil {
			t.Error(err)
		}
	}
	told()
	if err := f.Show(strings.Repeat("x", maxBytes+1)); err == nil {
		t.Error("a text longer than any screen was taken")
	}
}

func TestMachineWithoutPromptsIsFine(t *testing.T) {
	dir := t.TempDir()
	f := File{filepath.Join(dir, "arasul.issue"), filepath.Join(dir, "missing")}
	if err := f.Show("code\n"); err != nil {
		t.Error(err)
	}
	if err := f.Clear(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Reload); err == nil {
		t.Error("a file was made that nobody asked for")
	}
}
