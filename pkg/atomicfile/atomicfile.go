// Package atomicfile replaces files so that a reader, or a machine that lost
// power, finds either the old content or the new one, never a mixture.
//
// It does not lock: two writers of one file must agree among themselves.
package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces the file at path with data. When it returns nil, the new
// content is on stable storage: the file and its directory were synced. On
// error the file holds the old content, or the new one when only syncing the
// directory failed, and no temporary file is left behind.
func Write(path string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("creating temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if err = tmp.Chmod(perm); err != nil {
		return fmt.Errorf("setting mode: %w", err)
	}
	if _, err = tmp.Write(data); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if err = tmp.Sync(); err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	if err = tmp.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("renaming: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}
