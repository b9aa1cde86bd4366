package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrongUsageIsTold(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"sda1", "sda2"}, {"/dev/sda1"}, {"../x"}, {"-h"}, {"a\nb"}} {
		var out strings.Builder
		if rc := run(args, &out, filepath.Join(t.TempDir(), "log")); rc != 2 || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q: status %d, %q", args, rc, out.String())
		}
	}
}

func TestMissingDeviceIsAFailure(t *testing.T) {
	var out strings.Builder
	path := filepath.Join(t.TempDir(), "log")
	rc := run([]string{"sdzz99"}, &out, path)
	log, err := os.ReadFile(path)
	if err != nil || rc != 1 || !strings.Contains(out.String(), "device refused") || !strings.Contains(string(log), "device refused") {
		t.Errorf("status %d, %v, journal %q, file %q", rc, err, out.String(), log)
	}
}
